"""The engineers' front as engineers and operators meet it: roles, files, a second appliance, watching, ending."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from core import clock, ssh
from core.errors import GatepostError
from tests.support.need import needs
from tests.support.pump import joined
from tests.support.remote import CASE, NAME, SERIAL, Appliance, Engineer, Support, connected
from tests.support.service import running
from tests.support.waiting import until
from tunnel.bastion.presence import carries
from tunnel.bastion.reach import Way
from tunnel.service.hop import HopRule

FILE = 30 * 1024 * 1024
SECOND = "564D00AABBCCDDEEFF00-00000000FFFF"


async def _program(engineer: Engineer, support: Support, name: str, *words: str, stdin: bytes = b"") -> Any:
    """Run scp or sftp with our files only."""
    process = await asyncio.create_subprocess_exec(
        *(name, "-F", "none", "-P", str(support.engineers), "-i", str(engineer.key_path)),
        *("-o", f"CertificateFile={engineer.certificate}", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={engineer.known_hosts}", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate(stdin)
    return process.returncode, out, err


def _files(support: Support) -> list[dict[str, Any]]:
    """Give the recordings' markers about files."""
    events = []
    for path in (support.directory / "recordings").rglob("*.cast"):
        events += [json.loads(line) for line in path.read_text().splitlines()[1:]]
    markers = [json.loads(text) for _, code, text in events if code == "m"]
    return [each for each in markers if each["kind"].startswith("file-")]


@needs("sftp", "scp")
@pytest.mark.parametrize("program", ["sftp", "scp"])
async def test_thirty_megabytes_go_up_and_down_and_are_noted_with_their_hash(tmp_path: Path, program: str) -> None:
    content = hashlib.sha256(b"x").digest() * (FILE // 32)
    (tmp_path / "up").write_bytes(content)
    place = f"{NAME}@127.0.0.1"
    async with connected(tmp_path) as (support, appliance, _client):
        (appliance.state_file.parent / "configuration").mkdir()
        ana = Engineer(support, tmp_path / "ana")
        if program == "sftp":
            orders = f"put {tmp_path}/up configuration/f\nget configuration/f {tmp_path}/down\n".encode()
            result = await _program(ana, support, "sftp", "-b", "-", place, stdin=orders)
            assert result[0] == 0, result
        else:
            for words in (
                (str(tmp_path / "up"), f"{place}:configuration/f"),
                (f"{place}:configuration/f", str(tmp_path / "down")),
            ):
                result = await _program(ana, support, "scp", "-O", *words)
                assert result[0] == 0, result
        assert (tmp_path / "down").read_bytes() == content
        await until(lambda: not len(support.bastion.visits))
        wanted = 2 if program == "scp" else 1
        await until(lambda: sum(each["event"] == "recording" for each in support.audit()) == wanted)
        digests = [each["sha256"] for each in _files(support) if each.get("sha256")]
    assert digests == [hashlib.sha256(content).hexdigest()] * 2


@pytest.mark.parametrize(
    ("roles", "terminal", "forwarding"),
    [(("sftp",), True, True), (("shell",), True, True), (("forward",), True, True), (("shell", "sftp"), False, True)],
    ids=["sftp", "shell", "forward", "a certificate without terminal"],
)
async def test_every_kind_of_channel_needs_its_role(
    tmp_path: Path, roles: tuple[str, ...], terminal: bool, forwarding: bool
) -> None:
    shell, sftp, forward = "shell" in roles and terminal, "sftp" in roles, "forward" in roles
    async with connected(tmp_path) as (support, _appliance, _client):
        await support.employ("ana", roles=roles)
        engineer = Engineer(support, tmp_path / "ana", terminal=terminal, forwarding=forwarding)
        async with engineer.connect() as connection:
            assert ((await connection.run("who", encoding=None)).exit_status == 0) is shell
            assert (await _typed(connection) == 5) is shell
            assert await _may(connection.start_sftp_client()) is sftp
            assert ((await connection.run("scp -t configuration; who", encoding=None)).exit_status == 0) is False
            assert await _may(connection.open_connection(NAME, 22, encoding=None)) is forward
            for never in ("127.0.0.1", "other-1"):
                assert not await _may(connection.open_connection(never, 22, encoding=None))
            assert not await _may(connection.open_unix_connection("/tmp/x", encoding=None))
            assert not await _may(connection.start_server(lambda _h, _p: None, "", 8080))
            assert not await _may(connection.start_unix_server(lambda: None, "/tmp/gatepost-never"))
            assert not await _may(connection.create_tun(lambda: None))
            assert not await _may(connection.create_session(asyncssh.SSHClientSession, subsystem="netconf"))
        await until(lambda: not len(support.bastion.visits))
        noted = {each["rule"] for each in support.audit() if each["event"] == "refused"}
    assert {"role", "connection", "listen", "device"} <= noted


async def _typed(connection: Any) -> int:
    """Leave the console by typing; gives the exit status, or -1 where no terminal is to be had."""
    try:
        process = await connection.create_process(term_type="xterm", encoding=None)
        process.stdin.write(b"quit")
    except (asyncssh.ChannelOpenError, BrokenPipeError):
        return -1
    return int((await process.wait()).exit_status)


async def _may(attempt: Any) -> bool:
    try:
        async with asyncio.timeout(30):
            await attempt
    except (asyncssh.ChannelOpenError, asyncssh.ChannelListenError, asyncssh.SFTPError, OSError):
        return False
    return True


@needs("ssh")
async def test_agent_and_x11_are_refused_and_logged_and_the_session_goes_on(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        ana = Engineer(support, tmp_path / "ana")
        async with ana.connect() as connection:
            process = await connection.create_process(encoding=None)
            channel = process.channel
            assert not await channel._make_request(b"auth-agent-req@openssh.com")
            cookie = (b"\0", *(len(part).to_bytes(4, "big") + part for part in (b"MIT-MAGIC-COOKIE-1", b"00")))
            assert not await channel._make_request(b"x11-req", *cookie, (0).to_bytes(4, "big"))
            process.stdin.write(b"quit")
            assert (await process.wait()).exit_status == 5
        await until(lambda: {"agent", "x11"} <= {each.get("rule") for each in support.audit()})


async def test_who_watches_late_sees_the_screen_and_terminate_ends_it_with_the_reason(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        verbs = support.bastion.verbs
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            [shown] = (await verbs["sessions"]({}))["sessions"]
            seen = await verbs["watch"]({"id": shown["id"][:6], "by": "admin"})
            assert b"esa (SERVICE)> " in _octets(seen)
            process.stdin.write(b"hello")
            await _seen(verbs, shown["id"], seen["watch"], lambda answer: b"hello" in _octets(answer))
            assert (await verbs["sessions"]({}))["sessions"][0]["watchers"] == 1
            ended = await verbs["terminate"]({"id": shown["id"], "reason": "enough", "by": "admin"})
            assert ended["engineer"] == "ana"
            result = await process.wait()
            assert result.exit_status == 255
            assert b"ended by support's operator: enough" in result.stderr
            await _seen(verbs, shown["id"], seen["watch"], lambda answer: answer["ended"] == "session ended")
        with pytest.raises(GatepostError, match="no session"):
            await verbs["terminate"]({"id": shown["id"]})
        await until(lambda: "watch-end" in [each["event"] for each in support.audit()])
        events = [each["event"] for each in support.audit()]
    assert events.count("watch") == events.count("watch-end") == events.count("terminated") == 1


async def _seen(verbs: Any, visit: str, watch: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Watch on until an answer has what is wanted: each has what came since the one before."""

    async def looked() -> bool:
        return wanted(await verbs["watch"]({"id": visit, "watch": watch}))

    await until(looked)


def _octets(answer: dict[str, Any]) -> bytes:
    return b"".join(base64.b64decode(data) for kind, data in answer["frames"] if kind == "o")


@pytest.mark.parametrize("how", ["closed", "disabled", "grant", "role", "hours"])
async def test_what_is_taken_away_ends_what_it_had_allowed(tmp_path: Path, how: str) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        store = support.bastion.store
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            if how == "closed":
                await store.cases.close(CASE)
            elif how == "disabled":
                await store.engineers.disable("ana")
            elif how == "grant":
                granted = await store.cases.granted(CASE, NAME)
                await store.cases.grant(_changed(granted, until_at=clock.now() - 1))
            elif how == "role":
                await support.employ("ana", roles=("sftp",))
            else:
                await support.employ("ana", sources=("192.0.2.0/24",))
            assert (await support.bastion.verbs["recheck"]({}))["ended"] == 1
            assert (await process.wait()).exit_status == 255
            late = await connection.run("who", encoding=None)
            assert late.exit_status == 77
            assert late.stderr


def _changed(grant: Any, **changes: Any) -> Any:
    fields = {name: getattr(grant, name) for name in grant.__struct_fields__}
    return type(grant)(**(fields | changes))


async def test_who_reads_nothing_and_closes_nothing_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnel.bastion.relay.FAREWELL_S", 0.3)
    async with connected(tmp_path) as (support, _appliance, _client):
        verbs = support.bastion.verbs
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None, window=64)
            await process.stdout.readexactly(15)
            process.channel.pause_reading()
            process.stdin.write(b"x" * 4096)
            tunnel = support.bastion.presence.get(NAME)
            await until(lambda: carries(tunnel))
            [shown] = (await verbs["sessions"]({}))["sessions"]
            [visit] = support.bastion.visits
            await verbs["terminate"]({"id": shown["id"]})
            await until(lambda: not carries(tunnel))
            await until(lambda: not list(support.bastion.visits))
            await until(lambda: visit.recording.close_facts is not None)


async def test_who_leaves_while_the_appliance_is_being_reached_leaves_no_recording_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaching, left = asyncio.Event(), asyncio.Event()
    reach = Way.reach

    async def slowly(way: Way, *args: Any) -> Any:
        reaching.set()
        await left.wait()
        return await reach(way, *args)

    monkeypatch.setattr(Way, "reach", slowly)
    async with (
        connected(tmp_path) as (support, _appliance, _client),
        Engineer(support, tmp_path / "ana").connect() as connection,
    ):
        process = await connection.create_process("who", encoding=None)
        await reaching.wait()
        process.channel.abort()
        await until(lambda: not list(support.bastion.visits))
        left.set()
        await until(lambda: "recording" in [each["event"] for each in support.audit()])
        tunnel = support.bastion.presence.get(NAME)
        await until(lambda: not carries(tunnel))


async def test_octets_that_are_no_text_and_an_error_in_one_session_do_not_end_the_others(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        engineer = Engineer(support, tmp_path / "ana")
        async with engineer.connect() as connection:
            good = await connection.create_process(term_type="xterm", encoding=None)
            await good.stdout.readexactly(15)
            [kept] = list(support.bastion.visits)
            assert (
                await connection.run("exit 3", encoding=None, env={b"LANG": b"C", b"X\xff": b"\xfe"})
            ).exit_status == 3
            await until(lambda: list(support.bastion.visits) == [kept])  # the one before is gone
            bad = await connection.create_process("cat", encoding=None)
            broken = await until(
                lambda: next((one for one in support.bastion.visits if one is not kept and one.recording), None)
            )

            def fail(*_: Any) -> None:
                raise RuntimeError("in one session")

            broken.recording.output = fail  # type: ignore[union-attr,method-assign]
            bad.stdin.write(b"\xff\xfe")
            assert (await bad.wait()).exit_status == 255
            good.stdin.write(b"\xff still here\n")
            assert await good.stdout.readuntil(b"\n") == b"\xff still here\n"
            good.stdin.write(b"quit")
            assert (await good.wait()).exit_status == 5


async def test_a_connection_that_opens_nothing_is_ended(tmp_path: Path) -> None:
    async with connected(tmp_path, idle_s=0.3) as (support, _appliance, _client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            async with asyncio.timeout(30):
                await connection.wait_closed()
        counted = support.bastion.counters.snapshot
        await until(lambda: counted().get("engineer_connections_unused", {}).get("uptime") == 1)


async def test_paramiko_is_an_engineer_too(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        ana = Engineer(support, tmp_path / "ana")

        def work() -> tuple[int, bytes]:
            key = paramiko.Ed25519Key.from_private_key_file(str(ana.key_path))
            key.load_certificate(str(ana.certificate))
            client = paramiko.SSHClient()
            client.load_host_keys(str(ana.known_hosts))
            client.connect(
                "127.0.0.1", support.engineers, NAME, pkey=key, allow_agent=False, look_for_keys=False, timeout=60
            )
            with client:
                _, out, _ = client.exec_command("exit 3", timeout=60)
                return out.channel.recv_exit_status(), out.read()

        assert await asyncio.to_thread(work) == (3, b"")


@asynccontextmanager
async def _behind(path: Path) -> AsyncIterator[int]:
    """Give a port at which a second appliance's service login is reached."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        await joined(reader, writer, inner_reader, inner_writer)

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_second_appliance_is_reached_through_the_first_end_to_end_and_recorded(tmp_path: Path) -> None:
    second_home = tmp_path / "sma"
    (second_home / "run").mkdir(parents=True)
    async with _behind(second_home / "run" / "console-service.sock") as port:
        support = Support(tmp_path / "bastion", hop_port=port)
        allowed = {"hop_networks": ("127.0.0.1/32",)}
        first = Appliance(support, tmp_path / "esa", hops=HopRule(("127.0.0.1/32",), port), **allowed)
        second = Appliance(support, second_home, serial=SECOND)
        for appliance in (first, second):
            await appliance.enroll(support)
        await support.employ("ana")
        outer, inner = first.client(), second.client()
        async with running(*support.services, first.endpoint, outer):
            enabled = await outer.enable({"mode": "tunnel", "hops": ["127.0.0.1"]})
            await until(support.online)
            await support.open_case(engineers=("ana",))
            await support.open_case(SECOND, engineers=("ana",), via=NAME, address="127.0.0.1")
            await support.take_seed(enabled["seed"])
            async with running(second.endpoint, _renamed(inner)):
                account = await inner.enable({"mode": "sshaccess"})
                await support.take_seed(account["seed"], SECOND)
                ana = Engineer(support, tmp_path / "ana", serials=[SERIAL, SECOND])
                async with ana.connect(SECOND.lower()) as connection:
                    who = await connection.run("who", encoding=None)
                    assert who.exit_status == 0, who.stderr
                    assert json.loads(who.stdout)[:2] == ["ana", CASE]
                await until(lambda: any(each["event"] == "recording" for each in support.audit()))
                [header] = [
                    json.loads(path.read_text().splitlines()[0])["gatepost"]
                    for path in (support.directory / "recordings").rglob("*.cast")
                ]
                assert (header["serial"], header["via"]) == (SECOND.lower(), NAME)
                await second.enroll(support, host_key=ssh.make_key(), replace=True)
                async with ana.connect(SECOND.lower()) as connection:
                    other = await connection.run("who", encoding=None)
                assert other.exit_status == 69
                assert b"host key is not the pinned one" in other.stderr


def _renamed(client: Any) -> Any:
    """Give a second tunnel client a name of its own among the services of a test."""
    client.name = "second-client"
    return client


async def test_three_probes_in_a_row_shut_nobody_out(tmp_path: Path) -> None:
    """The fourth found the door shut, and so did the tunnels of all others behind the same address.

    A probe of six ports sees seven or eight host keys; here are two ports, hence four times as many probes.
    """
    async with connected(tmp_path, unlimited_sources=()) as (support, _appliance, client):
        standing = support.bastion.presence.get(NAME)
        for _ in range(12):
            rows = (await client.probe({}))["attempts"]
            assert {row["verdict"] for row in rows} == {"ours"}
        assert support.bastion.presence.get(NAME) is standing
        assert await support.online()
        assert "door_refused_penalty" not in support.bastion.counters.snapshot()


@needs("ssh")
async def test_who_waits_for_an_approval_reads_so_also_straight_through(tmp_path: Path) -> None:
    settings = {"approval": "second-person", "approval_wait_s": 1.5}
    line = f"case {CASE} is not approved: waiting 1.5 s at most until a second person says".encode()
    async with connected(tmp_path, **settings) as (support, _appliance, _client):
        engineer = Engineer(support, tmp_path / "ana", forwarding=True)
        through = await engineer.stock("-W", f"{NAME}:22", f"{NAME}@127.0.0.1")
        recorded = await engineer.stock(f"{NAME}@127.0.0.1", "exit 4")
        for status, _, said in (through, recorded):
            assert status != 0
            assert line in said
            assert b"nobody has approved" in said
        await support.employ("ben", "cid")
        await support.bastion.store.cases.approve(CASE, "ben")
        status, _, said = await engineer.stock(f"{NAME}@127.0.0.1", "exit 4")
        assert (status, b"approved" in said) == (4, False)
        await support.bastion.store.cases.open(CASE, [], ("cid",))  # takes the approval away
        status, _, said = await engineer.stock("-W", f"{NAME}:22", f"{NAME}@127.0.0.1")
        assert status != 0
        assert line in said
