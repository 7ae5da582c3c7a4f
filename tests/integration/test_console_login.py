"""Logging in to the console by password, key and one-time code, as stock OpenSSH does it, and as attackers would."""

import asyncio
import contextlib
import statistics
import time as clock
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core.ssh import client_options, known_hosts_line, make_key, public_text, write_key
from ops.access import store
from ops.access.gate import Gate, Terms, code_digest
from ops.access.record import Records
from ops.cli.account import KEY, KEY_CODE, PASSWORD, PASSWORD_CODE, Account, Role
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.guard import Door
from ops.cli.server import ConsoleServer, ConsoleSettings
from ops.cli.sessions import Sessions
from protocol import totp
from tests.support.access import stored
from tests.support.appliance import Audit, machine
from tests.support.need import needs
from tests.support.service import running
from tests.support.waiting import eventually, until

pytestmark = [pytest.mark.slow, needs("ssh")]
SECRET = totp.secret_text(b"12345678901234567890")
RIGHT, WRONG = "plum tree lane", "guess-1234"
ASKPASS = '#!/bin/sh\ncase "$1" in *assword*) echo "$PASS" ;; *code*) echo "$CODE" ;; esac\n'


def code_now(offset: int = 0) -> str:
    """Give the code of this moment, or of so many steps later."""
    return totp.code(totp.secret_octets(SECRET), int(clock.time() // totp.STEP_S) + offset)


@dataclass
class Console:
    """A console that runs, its users, and the ways to reach it."""

    dir: Path
    users: list[Account]
    keys: dict[str, asyncssh.SSHKey]
    audit: Audit = field(default_factory=Audit)
    sessions: Sessions = field(default_factory=Sessions)
    port: int = 0
    known: str = ""

    async def ssh(
        self, user: str, *words: str, password: str = "", code: str = "", key: str = "", flags: Sequence[str] = ()
    ) -> tuple[int, str, str]:
        """Run OpenSSH to its end, with a program that answers its questions."""
        options = ["IdentityAgent=none", "IdentitiesOnly=yes", "NumberOfPasswordPrompts=1", "ConnectTimeout=20"]
        options += [f"UserKnownHostsFile={self.dir / 'known_hosts'}", "StrictHostKeyChecking=yes", "LogLevel=ERROR"]
        given = [word for one in options for word in ("-o", one)]
        given += ["-i", str(self.dir / key)] if key else ["-o", "PubkeyAuthentication=no"]
        command = ["ssh", "-F", "none", *flags, "-p", str(self.port), *given, f"{user}@127.0.0.1", *words]
        answers = {"SSH_ASKPASS": str(self.dir / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "DISPLAY": ":0", "PASS": password, "CODE": code, **answers},
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    def options(self, user: str, password: str | None = None, **more: object) -> asyncssh.SSHClientConnectionOptions:
        """Give asyncssh's options."""
        return client_options(user, self.known, host_key_alias="127.0.0.1", password=password, **more)  # type: ignore[arg-type]

    async def refused_in(self, user: str, password: str) -> float:
        """Give how long one wrong password takes to be refused, without the handshake."""
        connection = None
        begun = 0.0

        class Client(asyncssh.SSHClient):
            asked = False

            def password_auth_requested(self) -> str | None:
                nonlocal begun
                if self.asked:
                    return None
                self.asked, begun = True, clock.perf_counter()
                return password

        options = client_options(user, self.known, host_key_alias="127.0.0.1", password="x", client_factory=Client)
        options.password = None
        with pytest.raises(asyncssh.PermissionDenied):
            connection = await asyncssh.connect("127.0.0.1", self.port, config=None, options=options)
        assert connection is None
        return clock.perf_counter() - begun


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with started(tmp_path, Terms(slow_s=0.0)) as found:
        yield found


@contextlib.asynccontextmanager
async def started(path: Path, terms: Terms, banner: str = "") -> AsyncIterator[Console]:
    keys = {name: make_key(name) for name in ("ann", "kim", "client")}
    for name, key in keys.items():
        write_key(path / name, key)
    lines = {name: (public_text(key),) for name, key in keys.items()}
    password = stored(RIGHT)
    codes = {"totp_secret": SECRET, "recovery": frozenset({code_digest("abcd-efgh-abcd-efgh")})}
    users = [
        Account("ann", Role.ADMINISTRATOR, lines["ann"], ways=frozenset({KEY}), password=password),
        Account("pat", Role.OPERATOR, (), ways=frozenset({PASSWORD}), password=password),
        Account("kim", Role.OPERATOR, lines["kim"], ways=frozenset({KEY_CODE}), password=password, **codes),  # type: ignore[arg-type]
        Account("tom", Role.GUEST, (), ways=frozenset({PASSWORD_CODE}), password=password, **codes),  # type: ignore[arg-type]
        Account("new", Role.GUEST, (), ways=frozenset({PASSWORD}), password=password, must_change=True),
        Account("client", Role.GUEST, lines["client"], frozenset({"version"})),
    ]
    console = Console(path, users, keys)
    (path / "askpass").write_text(ASKPASS)
    (path / "askpass").chmod(0o700)
    records = Records(path / "access.db", "cli")
    gate = Gate(records, console.audit.info, terms=terms)
    appliance = machine(path / "run", sessions=console.sessions.facts, records=records)
    executor = Executor(registry(), appliance, console.audit)
    door = Door(
        lambda name: [one for one in console.users if one.name == name], passwords=True, codes=True, banner=banner
    )
    host_key = make_key("host")
    settings = ConsoleSettings("127.0.0.1", 0, history=path / "history", unauthenticated_per_source=90)
    server = ConsoleServer(
        executor, settings, host_key, door=door, gate=gate, audit=console.audit, sessions=console.sessions
    )
    console.server, console.door, console.settings, console.records = server, door, settings, records  # type: ignore[attr-defined]
    listener = server.listener()
    async with running(records, listener):
        console.port = int(listener.addresses[0][1])  # type: ignore[index]
        console.known = known_hosts_line("127.0.0.1", public_text(host_key))
        (path / "known_hosts").write_text(known_hosts_line("127.0.0.1", public_text(host_key), console.port) + "\n")
        yield console


async def test_a_password_lets_in_who_may_use_one_by_questions_and_by_the_password_method(console: Console) -> None:
    assert (await console.ssh("pat", "whoami", password=RIGHT))[0] == 0
    only = ("-o", "PreferredAuthentications=password")
    status, out, _ = await console.ssh("pat", "whoami", password=RIGHT, flags=only)
    assert (status, "operator" in out) == (0, True)

    async def over() -> list[dict[str, object]]:
        rows = await console.records.look(store.history, 10, good=True)  # type: ignore[attr-defined]
        return rows if len(rows) == 2 and all(row["ended_at"] for row in rows) else []

    rows = await until(over)
    assert [(row["user"], row["way"]) for row in rows] == [("pat", "password")] * 2


@pytest.mark.parametrize(
    ("user", "given"),
    [
        ("pat", {"password": WRONG}),
        ("pat", {"password": ""}),
        ("nobody", {"password": RIGHT}),
        ("ann", {"password": RIGHT}),
        ("kim", {"password": RIGHT, "code": "NOW"}),
        ("kim", {"key": "kim", "code": "000000"}),
        ("kim", {"key": "kim"}),
        ("kim", {"key": "ann", "code": "NOW"}),
        ("tom", {"password": RIGHT, "code": "000000"}),
        ("tom", {"password": WRONG, "code": "NOW"}),
        ("tom", {"password": RIGHT, "code": ""}),
        ("service", {"password": RIGHT}),
    ],
)
async def test_nothing_less_than_what_the_user_needs_lets_anybody_in(
    console: Console, user: str, given: dict[str, str]
) -> None:
    given = {name: code_now() if text == "NOW" else text for name, text in given.items()}
    status, out, err = await console.ssh(user, "whoami", **given)
    assert (status, out) == (255, "")
    assert "Permission denied" in err


async def test_a_key_and_a_code_let_in_and_the_code_counts_once(console: Console) -> None:
    code = code_now()
    assert (await console.ssh("kim", "whoami", key="kim", code=code))[0] == 0
    assert (await console.ssh("kim", "whoami", key="kim", code=code))[0] == 255
    assert (await console.ssh("kim", "whoami", key="kim", code="ABCD EFGH ABCD EFGH"))[0] == 0
    assert (await console.ssh("kim", "whoami", key="kim", code="abcd-efgh-abcd-efgh"))[0] == 255


async def test_a_password_and_a_code_let_in(console: Console) -> None:
    assert (await console.ssh("tom", "whoami", password=RIGHT, code=code_now()))[0] == 0
    only = ("-o", "PreferredAuthentications=password")
    assert (await console.ssh("tom", "whoami", password=RIGHT, flags=only))[0] == 255


async def test_a_key_that_was_proven_for_one_name_counts_for_no_other(console: Console) -> None:
    """kim's key is half of kim's log-in; then the client goes on as tom, and as kim once more."""
    async with raw(console) as connection:
        assert not await connection.key("kim", "kim")
        assert connection.partial
        assert not await connection.answer("tom", code_now())
        assert not await connection.answer("kim", code_now())
    await until(lambda: any("log-in of tom" in line for line in console.audit.lines))


def _transport(address: tuple[str, int]) -> Any:
    """Give paramiko's, which makes the event that it waits for when it has asked, and misses who answers at once."""
    import paramiko
    from paramiko.auth_handler import AuthOnlyHandler

    class Handler(AuthOnlyHandler):
        def _parse_userauth_success(self, m: object) -> None:
            self._until_waited_for()
            super()._parse_userauth_success(m)

        def _parse_userauth_failure(self, m: object) -> None:
            self._until_waited_for()
            super()._parse_userauth_failure(m)

        def _until_waited_for(self) -> None:
            eventually(lambda: self.auth_event is not None and not self.auth_event.is_set())

    class Transport(paramiko.ServiceRequestingTransport):
        def get_auth_handler(self) -> Handler:
            return Handler(self)

    return Transport(address)


class raw(contextlib.AbstractAsyncContextManager["raw"]):
    """A client that decides itself which method it tries for which name."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.partial = False

    async def __aenter__(self) -> "raw":
        self.transport = _transport(("127.0.0.1", self.console.port))
        await asyncio.to_thread(self.transport.start_client, None, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.transport.close)

    async def key(self, user: str, key: str) -> bool:
        """Try a key; True if that is enough."""
        import paramiko

        loaded = paramiko.Ed25519Key.from_private_key_file(str(self.console.dir / key))
        return await self._tried(self.transport.auth_publickey, user, loaded)

    async def answer(self, user: str, answer: str) -> bool:
        """Answer every question alike; True if that is enough."""
        return await self._tried(self.transport.auth_interactive, user, lambda *asked: [answer] * len(asked[2]))

    async def password(self, user: str, password: str) -> bool:
        """Try a password."""
        return await self._tried(self.transport.auth_password, user, password)

    async def _tried(self, method: object, *arguments: object) -> bool:
        import paramiko

        try:
            left = await asyncio.to_thread(method, *arguments)  # type: ignore[arg-type]
        except (paramiko.SSHException, EOFError):
            return False
        self.partial = bool(left)
        return not left and self.transport.is_authenticated()


async def test_one_connection_tries_three_passwords_and_no_more(console: Console) -> None:
    async with raw(console) as connection:
        for _ in range(3):
            assert not await connection.password("pat", WRONG)
        assert not await connection.password("pat", RIGHT)
    await until(lambda: sum("wrong password" in line for line in console.audit.lines) == 3, lambda: console.audit.lines)


async def test_an_address_is_locked_out_and_keys_go_on_working_from_it(console: Console) -> None:
    for _ in range(5):
        await console.ssh("nobody", "whoami", password=WRONG)
    locked = "Access: address 127.0.0.1 is locked out for 60 s after too many failures"
    await until(lambda: locked in console.audit.lines)
    assert (await console.ssh("pat", "whoami", password=RIGHT))[0] == 255
    assert (await console.ssh("ann", "whoami", key="ann"))[0] == 0
    await console.records.change(store.unlock, ["source/127.0.0.1"])  # type: ignore[attr-defined]
    assert (await console.ssh("pat", "whoami", password=RIGHT))[0] == 0


async def test_the_answers_to_a_name_that_is_no_users_are_those_to_a_users(console: Console) -> None:
    answers = {
        user: await asyncssh.get_server_auth_methods("127.0.0.1", console.port, username=user, config=None)
        for user in ("pat", "ann", "kim", "nobody", "service", "client")
    }
    assert set(map(tuple, answers.values())) == {("publickey", "keyboard-interactive", "password")}


async def test_the_time_of_an_answer_does_not_tell_who_is_a_user(tmp_path: Path) -> None:
    async with started(tmp_path, Terms(failures=0, slow_s=0.0)) as console:
        took: dict[str, list[float]] = {"pat": [], "ann": [], "nobody": []}
        for _ in range(4):  # a busy machine may need more samples; what tells a user apart does so in any number
            for _ in range(15):
                for user, seen in took.items():
                    seen.append(await console.refused_in(user, WRONG))
            medians = {user: statistics.median(seen) for user, seen in took.items()}
            if max(medians.values()) < 1.6 * min(medians.values()) + 0.01:
                return
        pytest.fail(f"the time tells who is a user: {medians}")


async def test_a_flood_of_guesses_leaves_the_console_quick_for_who_is_in(tmp_path: Path) -> None:
    async with started(tmp_path, Terms(failures=0, slow_s=0.0)) as console:
        options = console.options("ann", keys=[console.keys["ann"]])
        async with asyncssh.connect("127.0.0.1", console.port, config=None, options=options) as connection:

            async def guess(number: int) -> None:
                with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                    async with asyncio.timeout(60):
                        await asyncssh.connect(
                            "127.0.0.1", console.port, config=None, options=console.options(f"user{number}", WRONG)
                        )

            async def flooded() -> float:
                async with asyncio.TaskGroup() as group:
                    for number in range(40):
                        group.create_task(guess(number))
                    await asyncio.sleep(0.5)
                    begun = clock.perf_counter()
                    assert (await connection.run("whoami")).exit_status == 0
                    return clock.perf_counter() - begun

            took = [await flooded()]
            while min(took) >= 3 and len(took) < 4:  # a busy machine makes one late, what we do makes all of them late
                took.append(await flooded())
            assert min(took) < 3, took
        await until(lambda: any("too many log-ins at a time" in line for line in console.audit.lines))


async def test_who_must_change_the_password_runs_nothing_else(console: Console) -> None:
    status, out, err = await console.ssh("new", "version", password=RIGHT)
    assert (status, out) == (77, "")
    assert "your password has to be changed first" in err


async def test_the_banner_is_shown_before_the_login(tmp_path: Path) -> None:
    async with started(tmp_path, Terms(slow_s=0.0), banner="Property of Example.\n") as console:
        _, _, err = await console.ssh("pat", "whoami", password=WRONG, flags=("-o", "LogLevel=VERBOSE"))
        assert "Property of Example." in err


async def test_a_user_who_is_removed_or_demoted_is_put_out_and_the_others_stay(console: Console) -> None:
    server, door, settings = console.server, console.door, console.settings  # type: ignore[attr-defined]
    async with contextlib.AsyncExitStack() as stack:
        made = {}
        for name in ("ann", "client"):
            options = console.options(name, keys=[console.keys[name]])
            made[name] = await stack.enter_async_context(
                asyncssh.connect("127.0.0.1", console.port, config=None, options=options)
            )
        console.users[0] = replace(console.users[0], role=Role.GUEST)
        server.follow(settings, door)
        with pytest.raises(asyncssh.ChannelOpenError):
            await made["ann"].run("version")
        async with asyncio.timeout(30):
            await made["ann"].wait_closed()
        assert (await made["client"].run("version")).exit_status == 0
        ended = "CLI ann from 127.0.0.1: access was taken away; the connection is ended"
        await until(lambda: ended in console.audit.lines)


async def test_the_command_client_has_no_way_round_its_set(console: Console) -> None:
    options = console.options("client", keys=[console.keys["client"]])
    async with asyncssh.connect("127.0.0.1", console.port, config=None, options=options) as connection:
        assert (await connection.run("version", env={"SSH_ORIGINAL_COMMAND": "who"})).exit_status == 0
        for words in ("who", "VERSION; who", "version && who", "help", "passwd", "version\nwho", "$(who)", ""):
            assert (await connection.run(words, stdin=asyncssh.DEVNULL)).exit_status in {64, 77}, words
    async with asyncssh.connect("127.0.0.1", console.port, config=None, options=options) as connection:
        for more in ({"term_type": "xterm"}, {"request_pty": "force", "term_type": "xterm"}):
            assert (await connection.run("who", **more)).exit_status == 77  # type: ignore[arg-type]
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process(subsystem="sftp")
        session = await connection.create_process()
        async with asyncio.timeout(30):
            assert (await session.wait()).exit_status == 77
        shells = await asyncio.gather(*(connection.run("who") for _ in range(5)))
        assert {shell.exit_status for shell in shells} == {77}


@pytest.mark.parametrize("damage", ["no database", "a folder"])
async def test_a_record_that_cannot_be_used_keeps_out_passwords_but_neither_keys_nor_the_console(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "access.db"
    if damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"\x01damaged" * 4096)
    async with started(tmp_path, Terms(slow_s=0.0)) as console:
        assert (await console.ssh("ann", "whoami", key="ann"))[0] == 0
        assert (await console.ssh("pat", "whoami", password=RIGHT))[0] == 255
        await until(lambda: any("nobody can count the failures" in line for line in console.audit.lines))
