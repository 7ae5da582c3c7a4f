"""The console as its users meet it: stock OpenSSH and asyncssh against the real server on a loopback port."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core.ssh import client_options, known_hosts_line, make_key, public_text, write_key
from ops.access.gate import Gate
from ops.access.record import Records
from ops.cli import channel, sessions
from ops.cli.account import Account, Role, account_book
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.guard import Door
from ops.cli.server import ConsoleServer, ConsoleSettings
from ops.cli.sessions import Sessions
from tests.support.appliance import Audit, Daemons, machine
from tests.support.need import needs
from tests.support.service import running
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, needs("ssh")]
DISABLED = {"mode": "disabled", "tunnel": "disabled", "port": None, "sessions": []}


@dataclass
class Console:
    """A console that runs, and the ways to reach it."""

    dir: Path
    port: int
    daemons: Daemons
    audit: Audit
    sessions: Sessions
    host_key: asyncssh.SSHKey
    keys: dict[str, asyncssh.SSHKey]

    def command(self, user: str, *words: str, key: str = "", flags: tuple[str, ...] = ()) -> list[str]:
        """Give the OpenSSH command line."""
        options = {
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "UserKnownHostsFile": str(self.dir / "known_hosts"),
            "StrictHostKeyChecking": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": "10",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        identity = str(self.dir / (key or user))
        return ["ssh", "-F", "none", "-p", str(self.port), "-i", identity, *given, *flags, f"{user}@127.0.0.1", *words]

    async def ssh(
        self, user: str, *words: str, key: str = "", flags: tuple[str, ...] = (), stdin: bytes = b""
    ) -> tuple[int, str, str]:
        """Run OpenSSH to its end; gives exit status, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            *self.command(user, *words, key=key, flags=flags),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin)
        return process.returncode or 0, out.decode(), err.decode()

    @contextlib.asynccontextmanager
    async def connect(
        self, user: str, key: asyncssh.SSHKey | None = None
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Log in with asyncssh."""
        known = known_hosts_line("127.0.0.1", public_text(self.host_key))
        options = client_options(user, known, host_key_alias="127.0.0.1", keys=[self.keys[user]])
        async with asyncssh.connect("127.0.0.1", self.port, config=None, options=options) as connection:
            yield connection


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with started(tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def started(path: Path, *, files: Any = None, **settings: Any) -> AsyncIterator[Console]:
    keys = {name: make_key(name) for name in ("admin", "gast", "cpq-command", "stranger")}
    for name, key in keys.items():
        write_key(path / name, key)
    host_key = make_key("host")
    users = [
        Account("admin", Role.ADMINISTRATOR, (public_text(keys["admin"]),)),
        Account("gast", Role.GUEST, ("damaged line", public_text(keys["gast"]))),
    ]
    accounts = account_book(users, "cpq-command", lambda: [public_text(keys["cpq-command"])], {"cpq listener"})
    daemons, audit, sessions = Daemons(path / "run"), Audit(), Sessions()
    executor = Executor(registry(), machine(daemons.run, sessions=sessions.facts, pair=_echo), audit)
    given = ConsoleSettings("127.0.0.1", 0, **settings)
    records = Records(path / "access.db", "cli")
    gate = Gate(records, audit.info)
    more = {"files": files(audit) if files else None}
    server = ConsoleServer(
        executor, given, host_key, door=Door(accounts), gate=gate, audit=audit, sessions=sessions, **more
    )
    listener = server.listener()
    async with running(records, listener):
        port = int(listener.addresses[0][1])  # type: ignore[index]
        (path / "known_hosts").write_text(known_hosts_line("127.0.0.1", public_text(host_key), port) + "\n")
        yield Console(path, port, daemons, audit, sessions, host_key, keys)


async def _echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"heard": request}


async def test_exec_gives_json_and_status_zero(console: Console) -> None:
    status, out, err = await console.ssh("admin", "version --json")
    assert (status, err) == (0, "")
    assert json.loads(out)["serial"] == "42AB-CD"
    assert out.endswith("}\n")


async def test_exec_gives_the_sysexits_status_and_one_line_on_standard_error(console: Console) -> None:
    status, out, err = await console.ssh("admin", "tophosts --json")
    assert (status, out) == (69, "")
    assert err == "delivery-queue is not running; start it with `gatepost run delivery-queue --config FILE`\n"
    assert (await console.ssh("admin", "bogus"))[0] == 64
    assert (await console.ssh("admin", "status 'open"))[0] == 64
    assert (await console.ssh("gast", "suspend"))[0] == 77


async def test_a_large_document_arrives_whole(console: Console) -> None:
    rows = [{"mid": str(n), "rid": 0, "sender": "a@a.example", "recipient": "b" * 200} for n in range(20000)]
    async with console.daemons.up(delivery_queue={"showrecipients": {"recipients": rows}}):
        status, out, _ = await console.ssh("admin", "showrecipients --json")
    assert status == 0
    assert len(json.loads(out)["recipients"]) == 20000


async def test_piped_lines_run_one_after_the_other(console: Console) -> None:
    script = b"version\nbogus\ntechsupport\nstatus\n\nhoststatus x\nexit\nversion\n"
    async with console.daemons.up(tunnel_client={"techsupport_status": DISABLED}):
        status, out, _ = await console.ssh("admin", stdin=script)
    assert status == 69
    assert out.count("42AB-CD") == 3
    assert "unknown command 'bogus'" in out
    assert "- TUNNEL - " in out


async def test_keys_that_come_with_the_login_and_the_end_of_input_are_all_used(console: Console) -> None:
    for _ in range(8):
        status, shown, err = await console.ssh("admin", flags=("-tt",), stdin=b"version\rhelp quit\rquit\r")
        assert (status, err) == (0, ""), err
        assert shown.count("Serial #: ") == 1, shown
        assert "End the session" in shown


async def test_a_dialogue_on_a_terminal(console: Console) -> None:
    typed = [("console.", ""), ("test>", "techsupport\r"), ("[]>", "STATUS\r"), ("[]>", "\r"), ("test>", "exit\r")]
    async with console.daemons.up(tunnel_client={"techsupport_status": DISABLED}):
        status, shown = await typed_into(console, console.command("admin", flags=("-tt",)), typed[1:])
    assert status == 0
    assert "Welcome to the console of esa.example.test" in shown
    assert shown.count("Service Access currently disabled.") >= 2


async def test_one_command_with_a_dialogue_on_a_terminal(console: Console) -> None:
    command = console.command("admin", "techsupport", flags=("-tt",))
    async with console.daemons.up(tunnel_client={"techsupport_status": DISABLED}):
        status, shown = await typed_into(console, command, [("[]>", "\r")])
    assert status == 0
    assert "- SSHACCESS - " in shown


async def test_ctrl_c_breaks_off_a_hanging_command_and_the_session_goes_on(console: Console) -> None:
    async def hang(args: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    typed = [("test>", "tophosts conn_out\r"), (None, "\x03"), ("^C", "version\r"), ("Serial #: ", "\x04")]
    async with console.daemons.up(delivery_queue={"tophosts": hang}):
        status, shown = await typed_into(console, console.command("admin", flags=("-tt",)), typed)
    assert "42AB-CD" in shown
    assert status == 0


async def typed_into(console: Console, command: list[str], typed: list[tuple[str | None, str]]) -> tuple[int, str]:
    """Type each text once what is waited for is shown; None waits until a daemon was asked."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    shown = fresh = ""
    try:
        async with asyncio.timeout(60):
            for wanted, text in typed:
                if wanted is None:
                    while not console.daemons.asked:
                        await asyncio.sleep(0.01)
                else:
                    while wanted not in fresh:
                        part = (await process.stdout.read(4096)).decode("utf-8", "replace")
                        assert part, f"ended while waiting for {wanted!r}; shown: {shown!r}"
                        shown += part
                        fresh += part
                fresh = ""
                process.stdin.write(text.encode())
                await process.stdin.drain()
            shown += (await process.stdout.read()).decode("utf-8", "replace")
            return await process.wait(), shown
    except TimeoutError:
        raise AssertionError(f"no answer; shown: {shown!r}") from None
    finally:
        if process.returncode is None:
            process.kill()


async def test_tab_completes_and_history_comes_back(console: Console) -> None:
    async with console.connect("admin") as connection:
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(
            term_type="xterm", term_size=(80, 24), encoding=None
        )
        shown = await shows(process, "test>")
        process.stdin.write(b"vers\t\r")
        shown = await shows(process, "Serial #: ")
        await shows(process, "test>")
        process.stdin.write(b"\x1b[A\r")
        shown = await shows(process, "Serial #: ")
        assert "42AB-CD" in shown + await shows(process, "test>")
        process.stdin.write(b"\x04")
        async with asyncio.timeout(30):
            await process.wait_closed()
        assert process.exit_status == 0


async def shows(process: asyncssh.SSHClientProcess[bytes], wanted: str) -> str:
    shown = ""
    try:
        async with asyncio.timeout(30):
            while wanted not in shown:
                part = await process.stdout.read(4096)
                assert part, shown
                shown += part.decode("utf-8", "replace")
    except TimeoutError:
        raise AssertionError(f"no {wanted!r}; shown: {shown!r}") from None
    return shown


async def test_a_strange_key_or_name_does_not_get_in(console: Console) -> None:
    for user, key in (("admin", "stranger"), ("gast", "admin"), ("nobody", "admin"), ("service", "admin")):
        status, out, err = await console.ssh(user, "version", key=key)
        assert (status, out) == (255, "")
        assert "Permission denied (publickey)" in err
    await until(lambda: any("refused" in line for line in console.audit.lines))
    assert not any("ran:" in line for line in console.audit.lines)


async def test_nobody_gets_in_without_a_key(console: Console) -> None:
    known = known_hosts_line("127.0.0.1", public_text(console.host_key))
    options = client_options("admin", known, host_key_alias="127.0.0.1", password="guess")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect("127.0.0.1", console.port, config=None, options=options)


async def test_the_restricted_key_runs_its_set_and_nothing_else(console: Console) -> None:
    async with console.daemons.up(cpq_listener={"status": {"state": "Online"}}):
        status, out, _ = await console.ssh("cpq-command", "cpq listener --json")
    assert (status, json.loads(out)["port"]) == (0, 7025)
    for words in (("version",), ("cpq pair",), ("help",)):
        assert (await console.ssh("cpq-command", *words))[0] == 77
    status, out, err = await console.ssh("cpq-command", stdin=b"version\n")
    assert (status, out) == (77, "")
    assert "runs single commands only" in err
    assert (await console.ssh("cpq-command", flags=("-tt",)))[0] == 77


async def test_pairing_reads_standard_input(console: Console) -> None:
    status, out, _ = await console.ssh("admin", "cpq pair --json", stdin=b'{"serial": "sma"}')
    assert (status, json.loads(out)) == (0, {"heard": {"serial": "sma"}})
    assert (await console.ssh("admin", "cpq pair", stdin=b"x" * 300_000))[0] == 65


async def test_forwards_agents_and_subsystems_are_refused(console: Console) -> None:
    async with console.connect("admin") as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", 22)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.start_sftp_client()


async def test_one_connection_has_ten_channels_open_at_once_and_no_more(console: Console) -> None:
    async with console.connect("admin") as connection:
        for _ in range(9):
            await shows(await connection.create_process(term_type="xterm", encoding=None), "test>")
        for _ in range(3):  # what has ended makes room: a script over one ControlMaster runs any number
            assert (await connection.run("version")).exit_status == 0
        await shows(await connection.create_process(term_type="xterm", encoding=None), "test>")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.run("version")


async def test_a_client_that_vanishes_leaves_no_task_and_no_session(console: Console) -> None:
    before = len(asyncio.all_tasks())
    async with console.connect("admin") as connection:
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(term_type="xterm", encoding=None)
        await shows(process, "test>")
        assert [one["user"] for one in console.sessions.facts()] == ["admin"]
        connection.abort()
    await until(lambda: not console.sessions.facts() and len(asyncio.all_tasks()) <= before)


async def test_bytes_that_are_no_text_harm_only_their_own_session(console: Console) -> None:
    async with console.connect("admin") as connection:
        other: asyncssh.SSHClientProcess[bytes] = await connection.create_process(term_type="xterm", encoding=None)
        await shows(other, "test>")
        piped: asyncssh.SSHClientProcess[bytes] = await connection.create_process(encoding=None)
        piped.stdin.write(b"\xff\xfe\x00\x1b[2J\nversion\n")
        piped.stdin.write_eof()
        async with asyncio.timeout(30):
            out = await piped.stdout.read()
        assert b"\x1b" not in out
        assert b"42AB-CD" in out
        other.stdin.write(b"version\r")
        await shows(other, "42AB-CD")


async def test_an_idle_session_is_ended(tmp_path: Path) -> None:
    async with started(tmp_path, idle_s=0.2) as console, console.connect("admin") as connection:
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(term_type="xterm", encoding=None)
        await shows(process, "Idle for too long")
        async with asyncio.timeout(30):
            await process.wait_closed()
        assert process.exit_status == 0


async def test_what_mail_carries_cannot_draw_on_the_terminal(console: Console) -> None:
    row = {"mid": "1", "rid": 0, "sender": "a", "recipient": "b", "subject": "\x1b]0;owned\x07\u202e\r\nfake"}
    async with console.daemons.up(delivery_queue={"showrecipients": {"recipients": [row]}}):
        _, text, _ = await console.ssh("admin", "showrecipients --limit 5")
        _, document, _ = await console.ssh("admin", "showrecipients --json")
    assert all(char == "\n" or char.isprintable() for char in text + document)
    assert "\\x1b]0;owned\\x07\\u202e\\x0d\\x0afake" in text


async def test_every_command_leaves_a_line_in_the_audit_log(console: Console) -> None:
    await console.ssh("admin", "version")
    await console.ssh("gast", "suspend")
    for line in ("CLI admin from 127.0.0.1 ran: version; status 0", "CLI gast from 127.0.0.1 ran: suspend; status 77"):
        await until(lambda line=line: line in console.audit.lines, line)  # type: ignore[misc]


async def test_what_a_client_does_not_read_is_not_gathered_without_end(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "MOST_UNREAD", 4 << 20)
    rows = [{"mid": str(n), "rid": 0, "sender": "a@a.example", "recipient": "b" * 200} for n in range(5000)]
    async with (
        console.daemons.up(delivery_queue={"showrecipients": {"recipients": rows}}),
        console.connect("admin") as connection,
        console.connect("gast") as other,
    ):
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(encoding=None)
        process.channel.pause_reading()
        process.stdin.write(b"showrecipients --json\n" * 50)
        async with asyncio.timeout(30):
            while not any("was not read" in line for line in console.audit.lines):
                assert (await other.run("version")).exit_status == 0


async def test_one_user_has_so_many_sessions_and_runs_single_commands_besides(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_OF_ONE", 2)
    async with console.connect("gast") as connection:
        for _ in range(2):
            await shows(await connection.create_process(term_type="xterm", encoding=None), "test>")
        refused = await connection.run(term_type="xterm", encoding=None)
        assert (refused.exit_status, refused.stderr) == (75, b"2 sessions of gast are open; end some\n")
        assert (await connection.run("version")).exit_status == 0
        async with console.connect("admin") as other:
            await shows(await other.create_process(term_type="xterm", encoding=None), "test>")
