"""The network tools over stock OpenSSH: telnet on a terminal, captures that end with their session, networks apart."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemons.files import files_of
from ops.network.capture.captures import Captures
from tests.integration.test_console_ssh import Console, started, typed_into
from tests.support.lab import alive
from tests.support.namespaces import network, permitted
from tests.support.need import allowed, as_root, needs
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, needs("ssh", "tcpdump", "ping", "traceroute")]
root = as_root("listening on interfaces")


@contextlib.asynccontextmanager
async def a_console(folder: Path) -> AsyncIterator[Console]:
    async with started(folder) as made:
        yield made


async def test_telnet_by_hand_on_a_terminal(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def host(peer: Peer) -> None:
        await peer.send(b"\xff\xfd\x1f220 mx.test \x1b]0;owned\x07ready\r\n")
        heard.append(await peer.line())
        await peer.say("250 hello")
        heard.append(await peer.line())

    async with a_console(tmp_path) as console, ScriptedServer(host) as server:
        command = console.command("admin", f"telnet 127.0.0.1 {server.port}", flags=("-tt",))
        typed = [("ready", "EHLP\x7fO me\r"), ("250 hello", "\x1d")]
        status, shown = await typed_into(console, command, typed)  # type: ignore[arg-type]
    assert status == 0
    assert heard == [b"\xff\xfc\x1fEHLO me\r\n", b""]
    assert "Trying 127.0.0.1...\r\nConnected to 127.0.0.1.\r\nEscape character is '^]'.\r\n" in shown
    assert "220 mx.test \\x1b]0;ownedready\r\n" in shown
    assert "\x1b]0;owned" not in shown
    assert "Connection closed." in shown


@root
async def test_a_capture_of_an_interactive_session_ends_with_its_connection(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        captures = Captures(console.daemons.run.parent)
        process = await asyncio.create_subprocess_exec(
            *console.command("admin", flags=("-tt",)), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        assert process.stdin is not None
        process.stdin.write(b"packetcapture start --interfaces lo --ports 9\r")
        await until(lambda: captures.status()["running"])
        keeper = captures.keeper()
        process.kill()
        await process.wait()
        await until(lambda: not alive(keeper))
        assert captures.status()["last"]["reason"] == "its session ended"


@root
async def test_a_capture_without_a_session_stays_for_its_time_and_says_what_it_came_to(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        # Other tests speak on the loopback meanwhile, but nobody sends to this port.
        words = "packetcapture start --interfaces lo --ports 3 --duration 1s --max-size 100K"
        status, out, err = await console.ssh("admin", words)
    assert (status, err) == (0, "")
    assert re.search(r"Packet capture \S+, 0 packets, 24 bytes; the time is over, ", out), out


@allowed(permitted(), "network namespaces")
def test_ping_and_traceroute_through_a_router(tmp_path: Path) -> None:
    text = """
import asyncio, json, sys
from pathlib import Path
from types import SimpleNamespace
from ops.cli.account import LOCAL
from ops.cli.commands import registry
from ops.cli.execute import Executor, split
from ops.cli.registry import Call
from tests.support.appliance import Audit, machine
async def main():
    executor = Executor(registry(), machine(Path(sys.argv[1])), Audit())
    for line in sys.argv[2:]:
        result = await executor.batch(Call(executor.appliance, LOCAL, executor.registry), split(line))
        print(json.dumps([result.status, result.output or result.error]))
asyncio.run(main())
"""
    lines = [
        "ping 198.51.100.10 --count 2 --interval 0.2 --from 10.77.1.10 --json",
        "ping 10.77.1.99 --count 1 --wait 1 --json",
        "traceroute 198.51.100.10 --numbers --json",
        "diagnostic network arpshow --json",
        "ping 203.0.113.1 --count 1 --wait 1 --from 10.77.1.11 --json",
    ]
    with network() as made:
        done = made["esa"].run(sys.executable, "-c", text, tmp_path, *lines, cwd=Path(__file__).parents[2])
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    documents = [json.loads(output) if not status else output for status, output in answers]
    assert documents[0]["received"] == 2
    assert (documents[1]["received"], documents[1]["loss_percent"]) == (0, 100.0)
    hops = [hop["probes"][0]["address"] for hop in documents[2]["hops"]]
    assert hops == ["10.77.1.1", "198.51.100.10"]
    assert documents[2]["reached"]
    assert "10.77.1.1" in [one["address"] for one in documents[3]["neighbours"]]
    assert answers[4][0] == 69, "an address of somebody else"


async def test_administrators_fetch_captures_by_sftp_and_others_do_not(tmp_path: Path) -> None:
    machine = SimpleNamespace(dir=tmp_path)
    (tmp_path / "captures").mkdir()
    (tmp_path / "captures" / "a.000.pcap").write_bytes(b"packets")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "tls.key").write_bytes(b"secret")

    def sftp(user: str, *lines: str) -> subprocess.CompletedProcess[bytes]:
        command = console.command(user, flags=("-s",))
        words = [word if word != "-p" else "-P" for word in command[1:-2]]
        return subprocess.run(
            ["sftp", "-b", "-", *words, f"{user}@127.0.0.1"],
            input="\n".join(lines).encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )

    async with started(tmp_path, files=lambda audit: files_of(machine, audit)) as console:  # type: ignore[arg-type]
        fetched = await asyncio.to_thread(sftp, "admin", "ls", f"get captures/a.000.pcap {tmp_path}/fetched")
        outside = await asyncio.to_thread(sftp, "admin", f"get captures/../../keys/tls.key {tmp_path}/stolen")
        guest = await asyncio.to_thread(sftp, "gast", "ls")
        for line in (
            "CLI admin from 127.0.0.1: get /captures/a.000.pcap, 7 octets; SHA-256 ",
            "CLI gast from 127.0.0.1 ran: (subsystem sftp); status 77",
        ):
            await until(lambda line=line: line in "\n".join(console.audit.lines), line)  # type: ignore[misc]
    assert fetched.returncode == 0, fetched
    assert b"captures" in fetched.stdout
    assert (tmp_path / "fetched").read_bytes() == b"packets"
    assert outside.returncode != 0
    assert not (tmp_path / "stolen").exists()
    assert guest.returncode != 0
