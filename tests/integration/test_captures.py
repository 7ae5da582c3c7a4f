"""Captures with the real tcpdump on the loopback: what ends one, what is left, what a filter cannot do."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.program import Program
from core.runtime import spawn
from ops.network.capture.captures import Captures, finish, said_by
from ops.network.capture.setting import Setting
from tests.support.lab import alive
from tests.support.need import as_root, needs
from tests.support.volume import Volume, fill, on_a_volume
from tests.support.waiting import eventually, until

ROOT = Path(__file__).parents[2]
pytestmark = [
    needs("tcpdump", "setpriv", "prlimit"),
    as_root("listening on interfaces"),
]


class Talk:
    """Packets of the test's own, on a port that nobody else uses."""

    def __init__(self) -> None:
        self._to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to.bind(("127.0.0.1", 0))
        self.port = int(self._to.getsockname()[1])
        self._from = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def say(self, count: int = 1, size: int = 100) -> None:
        for _ in range(count):
            self._from.sendto(b"x" * size, ("127.0.0.1", self.port))

    def close(self) -> None:
        self._to.close()
        self._from.close()


@pytest.fixture
def talk():  # type: ignore[no-untyped-def]
    made = Talk()
    yield made
    made.close()


def setting(talk: Talk, **more: object) -> Setting:
    return Setting(**{"interfaces": ("lo",), "ports": str(talk.port), **more})  # type: ignore[arg-type]


async def over(program: Program) -> dict[str, object]:
    async with asyncio.timeout(30):
        last = await said_by(program)
        await program.wait()
    await program.end()
    return last


def tcpdump_of(pid: int) -> int:
    """Find the tcpdump that a keeper runs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


async def test_a_capture_runs_with_its_size_and_age_until_it_is_stopped(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    assert captures.status() == {"running": False, "last": None}
    program = await captures.start(setting(talk), "ann from 192.0.2.7")
    talk.say(20)
    await until(lambda: captures.status()["bytes"] >= 20 * (16 + 14 + 28 + 100), "all are in the file, with headers")
    found = captures.status()
    assert (found["running"], found["by"], found["filter"]) == (True, "ann from 192.0.2.7", f"(port {talk.port})")
    assert found["elapsed_s"] >= 0
    last = await captures.stop()
    assert (last["reason"], last["packets"]) == ("stopped", 20)
    assert (await over(program))["packets"] == 20
    assert captures.status()["running"] is False
    [file] = captures.files()
    read = subprocess.run(
        ["tcpdump", "-n", "-r", tmp_path / "captures" / file["name"]], capture_output=True, text=True, check=True
    )
    assert len(read.stdout.splitlines()) == 20


async def test_tcpdump_has_no_right_but_to_listen(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    program = await captures.start(setting(talk), "ann")
    status = Path(f"/proc/{tcpdump_of(captures.keeper())}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in facts["Uid"].split(), "it runs as root"
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 1 << 13, "CAP_NET_RAW and nothing else"
    assert facts["NoNewPrivs"] == "1"
    await captures.stop()
    await over(program)


async def test_there_is_one_at_a_time(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    program = await captures.start(setting(talk), "ann")
    with pytest.raises(GatepostError, match="runs already") as raised:
        await Captures(tmp_path).start(setting(talk), "bob")
    assert raised.value.status == 75
    await until(captures.files)  # it has begun when tcpdump listens, a moment before its file is there
    with pytest.raises(GatepostError, match="stop it first"):
        captures.delete([str(captures.status()["name"])])
    await captures.stop()
    await over(program)
    with pytest.raises(GatepostError, match="no packet capture runs"):
        await captures.stop()


async def test_it_ends_with_its_session(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    program = await captures.start(setting(talk), "ann")
    pid, child = captures.keeper(), tcpdump_of(captures.keeper())
    finish(program)
    await until(lambda: not alive(pid) and not alive(child))
    assert captures.status()["last"]["reason"] == "its session ended"


def test_it_ends_when_the_console_is_killed(tmp_path: Path, talk: Talk) -> None:
    text = f"""
import asyncio, sys
from pathlib import Path
from ops.network.capture.captures import Captures
from ops.network.capture.setting import Setting
async def main():
    captures = Captures(Path({str(tmp_path)!r}))
    await captures.start(Setting(interfaces=("lo",), ports="{talk.port}"), "ann")
    print(captures.keeper(), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    console = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, cwd=ROOT)
    assert console.stdout is not None
    with console.stdout as out:
        pid = int(out.readline())
    child = tcpdump_of(pid)
    console.kill()
    console.wait(30)
    eventually(lambda: not alive(pid) and not alive(child), "the capture ends with its console")
    assert Captures(tmp_path).status()["last"]["reason"] == "its session ended"


async def test_one_that_is_broken_off_while_it_starts_does_not_stay(tmp_path: Path, talk: Talk) -> None:
    """It stayed: only who had been told that it runs could end it."""
    captures = Captures(tmp_path)
    for _ in range(20):
        task = spawn(captures.start(setting(talk), "ann"), "start")
        await until(captures.keeper)
        if task.cancel():
            break
        await captures.stop()  # it had started before this test could look: once more
    else:
        pytest.fail("it was never caught while it started")
    await until(lambda: not captures.keeper())
    await until(lambda: {task.get_name() for task in asyncio.all_tasks()} <= {asyncio.current_task().get_name()})  # type: ignore[union-attr]


async def test_nothing_listens_on_when_the_keeper_is_killed(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    program = await captures.start(setting(talk), "ann")
    talk.say(5)
    await until(lambda: captures.status()["bytes"] > 500)
    child = tcpdump_of(captures.keeper())
    os.kill(captures.keeper(), signal.SIGKILL)
    await until(lambda: not alive(child))
    assert await over(program) == {}
    assert captures.status()["running"] is False
    again = await captures.start(setting(talk), "ann")  # nothing of the dead one is in the way
    await captures.stop()
    await over(again)


async def test_time_and_size_end_it(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    last = await over(await captures.start(setting(talk, duration_s=1), "ann"))
    assert last["reason"] == "the time is over"
    program = await captures.start(setting(talk, max_bytes=65_536, until_full=True), "ann")
    talk.say(100, 1_400)
    last = await over(program)
    assert last["reason"] == "the maximum size is reached"
    assert 50_000 < int(str(last["bytes"])) <= 65_536


async def test_the_ring_keeps_the_newest_packets(tmp_path: Path, talk: Talk) -> None:
    captures = Captures(tmp_path)
    program = await captures.start(setting(talk, max_bytes=65_536), "ann")
    talk.say()
    first = str((await until(captures.files))[0]["name"])
    for _ in range(10):
        talk.say(20, 1_400)
        await asyncio.sleep(0.01)
    # All ten parts, and the first of all is not among them any more: it has come round.
    await until(lambda: len(names := [str(one["name"]) for one in captures.files()]) == 10 and first not in names)
    last = await captures.stop()
    await over(program)
    files = captures.files()
    assert len(files) == 10
    assert int(last["dropped_parts"]) >= 1
    assert sum(int(one["bytes"]) for one in files) <= 65_536
    assert captures.delete([str(files[0]["name"])]) == [files[0]["name"]]
    assert len(captures.delete([str(last["name"])])) == 9
    assert captures.files() == []


@pytest.mark.parametrize(
    "text",
    ["tcp port", "-w /tmp/owned", "port 25; id", "$(touch /tmp/owned)", "-z id", "--version", "icmp --"],
)
async def test_a_filter_that_is_none_is_refused_before_anything_starts(tmp_path: Path, text: str) -> None:
    captures = Captures(tmp_path)
    with pytest.raises(GatepostError, match="tcpdump does not take that") as raised:
        await captures.start(Setting(interfaces=("lo",), custom=text), "ann")
    assert raised.value.status == 65
    assert captures.files() == []
    assert not Path("/tmp/owned").exists()


async def test_an_interface_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatepostError, match="No such device"):
        await Captures(tmp_path).start(Setting(interfaces=("nosuch0",)), "ann")


@on_a_volume
async def test_a_full_disk_ends_it_and_what_is_written_can_be_read(tmp_path: Path, talk: Talk) -> None:
    volume = Volume(tmp_path / "image", tmp_path / "disk", mebibytes=32)
    volume.mount()
    try:
        captures = Captures(volume.place)
        with pytest.raises(GatepostError, match="choose a smaller size") as raised:
            await captures.start(setting(talk), "ann")
        assert raised.value.status == 73
        program = await captures.start(setting(talk, max_bytes=1_000_000), "ann")
        talk.say(10)
        await until(lambda: captures.status()["bytes"] > 1_000)
        fill(volume.place / "filler")
        last = await over(program)
        assert "disk" in str(last["reason"])
        [file] = captures.files()
        subprocess.run(["tcpdump", "-r", captures.folder / str(file["name"])], capture_output=True, check=True)
    finally:
        volume.unmount()
