"""The control socket answers what it knows, bounds what it reads and hides what went wrong inside."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.control import ControlServer, Guests, Poke, call
from core.errors import GatepostError
from core.lifecycle import Activities, Signals, run_service
from protocol.control import LINE_LIMIT
from tests.support.need import as_root
from tests.support.waiting import until

HEARD: list[str] = []


async def _greet(args: dict[str, Any]) -> dict[str, Any]:
    return {"hello": args["name"]}


async def _refuse(_: dict[str, Any]) -> None:
    raise GatepostError("no such quarantine", 66)


async def _break(_: dict[str, Any]) -> None:
    raise RuntimeError("/secret/path")


async def _hear(args: dict[str, Any]) -> None:
    HEARD.append(args["topic"])


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "sample.sock"
    server = ControlServer(path, {"greet": _greet, "refuse": _refuse, "break": _break, "poke": _hear})
    server.claim()
    signals = Signals([server.name])
    async with asyncio.TaskGroup() as group:
        group.create_task(run_service(server, signals, Activities()))
        await signals.ready[server.name].wait()
        yield path
        signals.stopping.set()


async def test_a_request_is_answered(path: Path) -> None:
    assert await call(path, "greet", name="ada") == {"hello": "ada"}


async def test_an_answer_of_another_user_is_not_taken(path: Path) -> None:
    us = os.geteuid()
    assert await call(path, "greet", of_users=(us,), name="ann") == {"hello": "ann"}
    with pytest.raises(GatepostError, match=f"number {us} answers there") as caught:
        await call(path, "greet", of_users=(us + 1,), name="ann")
    assert caught.value.status == 77


async def test_an_error_keeps_its_status(path: Path) -> None:
    with pytest.raises(GatepostError, match="no such quarantine") as caught:
        await call(path, "refuse")
    assert caught.value.status == 66


async def test_an_internal_error_shows_an_incident_not_its_text(path: Path) -> None:
    with pytest.raises(GatepostError, match="incident") as caught:
        await call(path, "break")
    assert "secret" not in caught.value.text
    assert await call(path, "greet", name="still here") == {"hello": "still here"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense\n", "malformed"),
        (b"[1]\n", "malformed"),
        (b'{"v":9,"do":"greet"}\n', "version"),
        (b'{"v":1,"do":"fly"}\n', "unknown"),
        (b'{"v":1,"do":"greet","args":[1]}\n', "args are no object"),
    ],
)
async def test_a_bad_line_gets_a_clear_error(path: Path, line: bytes, words: str) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    assert words in (await reader.readline()).decode()
    writer.close()


async def test_an_argument_that_lacks_is_named_and_was_an_incident(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(GatepostError, match="the argument name is missing") as caught:
        await call(path, "greet")
    assert caught.value.status == 64
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"limit": -5}, "limit is -5: give a number from 0 on"),
        ({"limit": "x"}, "limit is 'x': give a number from 0 on"),
        ({"mids": 7}, "mids is 7: give a list of MIDs, numbers"),
        ({"mids": ["7", "9" * 5000]}, "mids is "),
        ({"mid": [1]}, r"mid is \[1\]: give a MID"),
        ({"hosts": "a.test"}, "hosts is 'a.test': give a list of texts"),
        ({"delay_s": "soon"}, "delay_s is 'soon': give a number of seconds"),
        ({"host": {"a": 1}}, "host is .*: give a text"),
        ({"dry_run": "no"}, "dry_run is 'no': give true or false"),
        ({"id": "9" * 5000}, "id is .*: give an id"),
    ],
)
async def test_an_argument_of_another_kind_was_an_incident(
    path: Path, capfd: pytest.CaptureFixture[str], args: dict[str, Any], words: str
) -> None:
    with pytest.raises(GatepostError, match=words) as caught:
        await call(path, "greet", **args, name="ada")
    assert caught.value.status == 64
    assert "Traceback" not in capfd.readouterr().err


async def test_none_stands_for_an_argument_that_is_left_out(path: Path) -> None:
    assert await call(path, "greet", name="ada", limit=None, mid=None, hosts=None) == {"hello": "ada"}


async def test_nobody_there_is_status_69(tmp_path: Path) -> None:
    with pytest.raises(GatepostError, match="not running") as caught:
        await call(tmp_path / "absent.sock", "greet")
    assert caught.value.status == 69


async def test_a_poke_arrives_and_a_missing_peer_does_no_harm(path: Path) -> None:
    HEARD.clear()
    poke = Poke(path)
    poke.poke("gateway-0")
    await until(lambda: HEARD)
    assert HEARD == ["gateway-0"]
    poke.close()
    Poke(path.with_name("absent.sock")).poke("gateway-0")


async def test_a_socket_that_cannot_be_made_is_one_error_that_names_it(tmp_path: Path) -> None:
    """A run/ folder of another user ended the daemon with a traceback and status 70."""
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(GatepostError, match=r"control socket .*/run/one\.sock") as caught:
        ControlServer(tmp_path / "run" / "one.sock", {}).claim()
    assert caught.value.status == 73
    blocked = tmp_path / "two.sock"
    blocked.mkdir()
    with pytest.RaisesGroup(
        pytest.RaisesExc(GatepostError, match=r"control socket .*/two\.sock"), flatten_subgroups=True
    ):
        await run_service(ControlServer(blocked, {}), Signals(["control"]), Activities())


@as_root("being somebody else")
async def test_a_guest_may_ask_some_verbs_and_anybody_else_is_told_no() -> None:
    folder = Path(tempfile.mkdtemp(prefix="gatepost-control-"))
    folder.chmod(0o755)
    path = folder / "sample.sock"
    guests = Guests(frozenset({65534}), frozenset({"greet"}))
    server = ControlServer(path, {"greet": _greet, "refuse": _refuse}, guests=guests)
    server.claim()
    signals = Signals([server.name])
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_service(server, signals, Activities()))
            await signals.ready[server.name].wait()
            assert '"hello":"ada"' in await _asked_as(65534, path, "greet")
            assert '"status":77' in await _asked_as(65534, path, "refuse")
            assert "may not be asked by user 65533" in await _asked_as(65533, path, "greet", wait_s=0.2)
            signals.stopping.set()
    finally:
        shutil.rmtree(folder)


async def test_who_is_refused_while_it_still_asks_reads_why_and_not_that_nobody_is_there(tmp_path: Path) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"error":{"status":77,"text":"you may not"}}\n')
        writer.close()

    async with await asyncio.start_unix_server(refuse, tmp_path / "sample.sock"):
        with pytest.raises(GatepostError, match="you may not") as caught:
            await call(tmp_path / "sample.sock", "greet", name="x" * 4_000_000)
    assert caught.value.status == 77


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        (b"", "sample closed the connection without an answer", 69),
        (b'{"v":1,"ok":{"cut', "sample closed the connection in the middle of an answer", 69),
        (b"nonsense\n", "the answer of sample is none", 70),
        (b'"\xff"\n', "the answer of sample is none", 70),
        (b"[1]\n", "the answer of sample is none", 70),
        (b"[" * 100_000 + b"\n", "the answer of sample is none", 70),
        (b'{"v":1}\n', "neither ok nor error", 70),
        (b'{"v":1,"error":"down"}\n', "the answer of sample is none", 70),
        (b'{"v":1,"error":{"status":0,"text":"well"}}\n', "the answer of sample is none", 70),
        (b"x" * (LINE_LIMIT + 1) + b"\n", f"is longer than {LINE_LIMIT} octets", 70),
    ],
    ids=("nothing", "cut off", "no JSON", "no UTF-8", "no object", "deep", "empty", "no error", "status 0", "long"),
)
async def test_what_is_no_answer_was_a_traceback(tmp_path: Path, answer: bytes, words: str, status: int) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(tell, tmp_path / "sample.sock"):
        with pytest.raises(GatepostError, match=words) as caught:
            await call(tmp_path / "sample.sock", "greet", name="ada")
    assert caught.value.status == status
    assert "\n" not in caught.value.text


async def _asked_as(uid: int, path: Path, verb: str, wait_s: float = 0) -> str:
    """Ask from a process of another user, which needs nothing but a shell's python and may take its time to ask."""
    program = (
        "import os, socket, sys, time; os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]));"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2]); time.sleep(float(sys.argv[4]));"
        "s.sendall(sys.argv[3].encode());"
        "s.shutdown(socket.SHUT_WR); print(s.makefile().readline())"
    )
    line = f'{{"v":1,"do":"{verb}","args":{{"name":"ada"}}}}\n'
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(uid), str(path), line, str(wait_s), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()
