"""Remote access under attack, on real daemons: what is not allowed is refused, counted and logged once, and a witness,
an engineer at work on a terminal, is none the worse for any of it.

Each attacker comes from an address of its own, so that the bastion's ordinary limits and penalties are in force.
"""

import asyncio
import contextlib
import glob
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32

from core import ssh
from tests.support.lab import ran
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.remote_daemons import CASE, ENGINEER, HOST, NET, Machine, Remote, Witness, remote
from tests.support.waiting import eventually, until

pytestmark = [pytest.mark.slow, needs("ssh", "ssh-keygen")]
PIPE = Path(__file__).parents[1] / "support" / "unix_pipe.py"
ESCAPES = "\x1b]0;pwned\x07\x1b[31m\r\n<2>forged"


@pytest.fixture(scope="module")
def site() -> Iterator[Remote]:
    bastion = {"login_timeout_s": 3, "session_grace_s": 3600}
    with remote(bastion=bastion, tunnel={"connect_timeout_s": 1, "login_timeout_s": 3}) as made:
        yield made


@pytest.fixture(scope="module")
def witness(site: Remote) -> Iterator[Witness]:
    made = Witness(site)
    yield made
    made.end()


@pytest.fixture(autouse=True)
def unharmed(site: Remote, witness: Witness) -> Iterator[None]:
    """Others are unharmed: the witness's keystrokes come back after each test, and the tunnel is proved."""
    tunnel = next(row for row in site.bastion.ask("bastion", "tunnels")["tunnels"] if row["serial"] == site.esa.name)
    yield
    witness.echoes()
    assert site.since() == tunnel["since"]
    eventually(site.online, "the tunnel is proved")
    assert site.since() == tunnel["since"]


def _options(site: Remote, user: str, keys: Any) -> Any:
    pinned = ssh.known_hosts_line("bastion", site.pinned)
    return ssh.client_options(user, pinned, host_key_alias="bastion", keys=keys, connect_timeout_s=10)


def _as_engineer(site: Remote, user: str = "", certificate: Any = None) -> Any:
    key = ssh.read_key(site.dir / ENGINEER)
    shown = certificate or ssh.read_certificate(site.dir / f"{ENGINEER}-cert.pub")
    options = _options(site, user or site.esa.name, [(key, shown)])
    return asyncssh.connect(f"{NET}.0.2", site.engineers, local_addr=(site.source(), 0), config=None, options=options)


def _as_appliance(site: Remote, one: Machine) -> Any:
    """Connect with the keys of an appliance, as somebody would who has stolen them."""
    options = _options(site, one.name, [ssh.read_key(one.dir / "keys" / "tunnel_ed25519")])
    return asyncssh.connect(f"{NET}.0.1", site.ports[0], local_addr=(site.source(), 0), config=None, options=options)


async def _refused(attempt: Any) -> bool:
    try:
        async with asyncio.timeout(60):
            await attempt
    except (asyncssh.Error, asyncssh.ChannelListenError, OSError):
        return True
    return False


# -- who does not get in ------------------------------------------------------------------------------------------


async def test_certificates_that_are_wrong_open_nothing_and_are_counted_each_and_logged_once(site: Remote) -> None:
    authority = ssh.read_key(site.bastion.dir / "keyd" / "engineer_ca_ed25519")
    key_id, name = f"{ENGINEER}@{CASE}#{'0' * 36}", site.esa.name
    good: dict[str, Any] = {"principals": [name], "valid_after": "-1m", "valid_before": "+5m"}
    wrong = {
        "wrong CA": (ssh.make_key(), {}),
        "expired": (authority, {"valid_after": "-2h", "valid_before": "-1h"}),
        "not yet valid": (authority, {"valid_after": "+1h", "valid_before": "+2h"}),
        "no principals": (authority, {"principals": []}),
        "a wildcard for a principal": (authority, {"principals": ["*"]}),
        "the authority of hosts": (ssh.read_key(site.bastion.dir / "keyd" / "host_ca_ed25519"), {}),
        "another user": (authority, {"principals": ["root"]}),
    }
    counted, lines = site.counted("door_refused_login"), len(site.audit("refused-at-door", rule="login"))
    for signer, changes in wrong.values():
        certificate = signer.generate_user_certificate(ssh.read_key(site.dir / ENGINEER), key_id, **(good | changes))
        with pytest.raises((asyncssh.PermissionDenied, asyncssh.DisconnectError)):
            await _as_engineer(site, certificate=certificate)
    await until(lambda: site.counted("door_refused_login") == counted + len(wrong))
    assert len(site.audit("refused-at-door", rule="login")) <= lines + 1, "one line for a rule and a minute"
    assert site.audit("refused-at-door", rule="login")


@pytest.mark.parametrize("user", ["*", "?*", "a'b", 'x",principals="y', "a\nb", "a b", "\x1b[31m", "../x", "x" * 5000])
async def test_user_names_that_are_patterns_or_hold_quotes_or_lines_are_no_users(
    site: Remote, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncssh.connection.saslprep", lambda text: text)  # an attacker's client prepares nothing
    before = site.counted("refused_user_name"), site.counted("door_refused_broken")
    with pytest.raises((asyncssh.Error, OSError)):
        await _as_engineer(site, user)
    no_name = not user.isprintable() or len(user) > 1024
    after = (before[0], before[1] + 1) if no_name else (before[0] + 1, before[1])
    await until(lambda: (site.counted("refused_user_name"), site.counted("door_refused_broken")) == after)
    assert len(site.audit("refused", rule="user-name", user=user[:64])) == (not no_name)


async def test_an_engineer_whose_key_id_names_nobody_opens_nothing(site: Remote) -> None:
    authority = ssh.read_key(site.bastion.dir / "keyd" / "engineer_ca_ed25519")
    for key_id in ("nobody", ESCAPES, f"{ENGINEER}@{CASE}#x", f"eve@{CASE}#{'0' * 36}"):
        certificate = authority.generate_user_certificate(
            ssh.read_key(site.dir / ENGINEER), key_id, principals=[site.esa.name], valid_after="-1m", valid_before="+5m"
        )
        async with _as_engineer(site, certificate=certificate) as connection:
            assert await _refused(connection.open_connection(site.esa.name, 22, encoding=None))
            with contextlib.suppress(asyncssh.Error):
                assert (await connection.run("version", encoding=None, timeout=10)).exit_status in (77, -1, None)
    assert not site.audit("session", key_id=f"eve@{CASE}#{'0' * 36}", mode="through")


# -- what is not theirs -------------------------------------------------------------------------------------------


def _never(connection: Any, site: Remote) -> dict[str, Any]:
    """Give all that neither side may, by the rule that refuses it."""
    return {
        "a port here": lambda: connection.start_server(lambda _h, _p: None, "127.0.0.1", 8022),
        "any port": lambda: connection.start_server(lambda _h, _p: None, "", 0),
        "a unix socket here": lambda: connection.start_unix_server(lambda: None, "/tmp/gatepost-never"),
        "a connection to a unix socket": lambda: connection.open_unix_connection("/var/run/x"),
        "the bastion itself": lambda: connection.open_connection("127.0.0.1", 22, encoding=None),
        "metadata": lambda: connection.open_connection("169.254.169.254", 80, encoding=None),
        "another appliance": lambda: connection.open_connection(site.sma.name.replace("0", "1"), 22, encoding=None),
        "a pattern": lambda: connection.open_connection("*", 22, encoding=None),
        "tun": lambda: connection.create_tun(lambda: None),
        "tap": lambda: connection.create_tap(lambda: None),
    }


async def test_an_appliance_gets_nothing_but_its_own_name(site: Remote) -> None:
    async with _as_appliance(site, site.sma) as connection:
        attempts = _never(connection, site) | {
            "a foreign serial": lambda: connection.start_server(lambda _h, _p: None, site.esa.name, 22),
            "its name without registration": lambda: connection.start_server(lambda _h, _p: None, site.sma.name, 22),
            "appliance to appliance": lambda: connection.open_connection(site.esa.name, 22, encoding=None),
            "a command": lambda: connection.create_process("id", encoding=None),
        }
        for what, attempt in attempts.items():
            for _ in range(3):
                assert await _refused(attempt()), what
    rules = {"name", "connection", "device", "session", "registration"}
    lines = await _noted(site, site.sma.name, "appliance", rules)
    assert len({(line["rule"], line["why"]) for line in lines}) == len(lines), "each once"
    assert {line["times"] for line in site.audit("refused-often", user=site.sma.name)} <= set(range(2, 13))


async def test_an_engineer_gets_no_agent_no_x11_no_device_and_no_way_out(site: Remote) -> None:
    async with _as_engineer(site) as connection:
        process = await connection.create_process(term_type="xterm", encoding=None)
        for what, attempt in _never(connection, site).items():
            for _ in range(2):
                assert await _refused(attempt()), what
        for _ in range(3):
            assert not await process.channel._make_request(b"auth-agent-req@openssh.com")
            cookie = (String(b"MIT-MAGIC-COOKIE-1"), String(b"00"), UInt32(0))
            assert not await process.channel._make_request(b"x11-req", Boolean(False), *cookie)
        assert await _refused(connection.create_session(asyncssh.SSHClientSession, subsystem="netconf"))
    await _noted(site, site.esa.name, "engineer", {"agent", "x11", "listen", "connection", "device"})


async def _noted(site: Remote, user: str, side: str, rules: set[str]) -> list[dict[str, Any]]:
    """Wait until refusals by all these rules are in the log; gives all refusals."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in site.audit("refused", side=side) if line["user"] == user]

    await until(lambda: rules <= {line["rule"] for line in lines()}, lines)
    return lines()


_NONSENSE = {
    "slow banner": b"S",
    "banner flood": b"no banner " * 8 + b"\n",
    "a huge packet that never comes": b"SSH-2.0-x\r\n\x00\x03\xff\xf0\x04\x14",
    "an impossible packet": b"SSH-2.0-x\r\n\xff\xff\xff\xff",
    "zeros": bytes(100),
    "escapes in the version": b"SSH-2.0-" + ESCAPES.encode() + b"\r\n",
    "an old version": b"SSH-1.5-x\r\n",
    "a version that is no text": b"SSH-2.0-\xff\xfe\r\n",
}


# -- floods -------------------------------------------------------------------------------------------------------


def test_three_hundred_half_open_connections_from_as_many_places_are_bounded_and_time_out(
    site: Remote, witness: Witness
) -> None:
    held = []
    for _ in range(300):
        sock = socket.socket()
        sock.bind((site.source(), 0))
        sock.setblocking(False)
        sock.connect_ex((f"{NET}.0.1", site.ports[0]))
        held.append(sock)
    gauges = site.bastion.ask("bastion", "status")["gauges"]
    assert gauges["appliances_not_logged_in"] <= 100
    for _ in range(10):
        witness.echoes()
    assert site.ssh("version", source=site.source()).status == 0
    away, ended = ("early_drop", "full"), ("early_drop", "full", "time_out", "broken")
    eventually(lambda: sum(site.counted(f"door_refused_{why}") for why in ended) >= 300, "each of them has ended")
    assert sum(site.counted(f"door_refused_{why}") for why in away) >= 150
    eventually(lambda: site.bastion.ask("bastion", "status")["gauges"]["appliances_not_logged_in"] == 0)
    assert len(site.audit("refused-at-door", rule="early-drop")) <= 2
    for sock in held:
        sock.close()


@pytest.mark.parametrize("what", list(_NONSENSE.values()), ids=list(_NONSENSE))
@pytest.mark.parametrize("front", ["appliances", "engineers"])
def test_banners_and_packets_that_go_nowhere_end_in_time(site: Remote, what: bytes, front: str) -> None:
    address = (f"{NET}.0.1", site.ports[0]) if front == "appliances" else (f"{NET}.0.2", site.engineers)
    with socket.socket() as sock:
        sock.bind((site.source(), 0))
        sock.connect(address)
        sock.settimeout(0.1)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            sock.sendall(what)
            while time.monotonic() - begun < 60:
                if what == b"S" or what.startswith(b"no"):
                    sock.sendall(what)
                try:
                    if not sock.recv(4096):
                        break
                except TimeoutError:
                    continue
        assert time.monotonic() - begun < 30
    eventually(lambda: site.bastion.ask("bastion", "status")["gauges"][f"{front}_not_logged_in"] == 0)


async def _gone(connection: Any, within_s: float = 60) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await connection.wait_closed()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("side", ["appliance", "engineer"])
async def test_ten_thousand_global_requests_end_the_connection_that_sent_them(site: Remote, side: str) -> None:
    before = site.counted("refused_requests")
    async with _attacker(site, side) as connection:
        for _ in range(10_000):
            connection.send_packet(80, String(b"tcpip-forward"), Boolean(True), String(b"x"), UInt32(1))
        assert await _gone(connection)
    await until(lambda: site.counted("refused_requests") == before + 1)
    await until(lambda: len([line for line in site.audit("refused", rule="requests") if line["side"] == side]) == 1)


@contextlib.asynccontextmanager
async def _attacker(site: Remote, side: str) -> AsyncIterator[Any]:
    connection = await (_as_engineer(site) if side == "engineer" else _as_appliance(site, site.sma))
    try:
        yield connection
    finally:
        connection.abort()


@pytest.mark.parametrize("side", ["appliance", "engineer"])
@pytest.mark.parametrize("kind", [b"session", b"direct-tcpip", b"tun@openssh.com", b"\x1b[31m\xff"], ids=repr)
async def test_two_thousand_channel_opens_are_bounded(site: Remote, side: str, kind: bytes) -> None:
    lines = len(site.audit())
    async with _attacker(site, side) as connection:
        rest = (String(site.esa.name), UInt32(22), String(b"\xff\xfe"), UInt32(1)) if kind == b"direct-tcpip" else ()
        for number in range(2_000):
            connection.send_packet(90, String(kind), UInt32(number + 1000), UInt32(1), UInt32(32768), *rest)
        await _gone(connection, 5)
        assert site.bastion.ask("bastion", "status")["gauges"]["sessions_through_now"] <= 20
    await asyncio.sleep(0.3)
    eventually(lambda: site.bastion.ask("bastion", "status")["gauges"]["sessions_through_now"] == 0)
    assert len(site.audit()) - lines < 150, "two lines for a channel that opened, one for all that did not"


def test_a_storm_of_key_exchanges_ends_the_connection(site: Remote) -> None:
    """Stock sftp that wants new keys every few KiB."""
    (site.dir / "much").write_bytes(bytes(1 << 20))
    words = ["sftp", *site.options(RekeyLimit="16K", BindAddress=site.source()), "-P", str(site.engineers), "-b", "-"]
    done = ran([*words, f"{site.esa.name}@{NET}.0.2"], stdin=f"put {site.dir / 'much'} configuration/much\n")
    assert done.status != 0, done
    assert len(eventually(lambda: site.audit("refused", rule="rekey"))) == 1
    eventually(lambda: site.counted("refused_rekey") == 1)


async def test_storms_within_a_session_end_at_most_that_session(site: Remote) -> None:
    async with _attacker(site, "engineer") as connection:
        process = await connection.create_process(term_type="xterm", encoding=None)
        channel = process.channel
        send = channel._send_request
        for number in range(5_000):
            size = (UInt32(number % 65536), UInt32(0xFFFFFFFF - number), UInt32(0), UInt32(0))
            send(b"window-change", *size)
        for number in range(5_000):
            send(b"env", String(b"X%d\xff" % number), String(b"\xfe" * 100))
            send(b"signal", String(b"\xff\x1b[31m"))
        for name in (b"exec", b"subsystem", b"\xff\xfe", b"break"):
            send(name, String(b"\xff\xfe" * 1000))
        await asyncio.sleep(0.5)
    async with _attacker(site, "engineer") as connection:
        made = [asyncssh.SSHClientSession[bytes]]
        env = {b"LANG%d" % number: b"\xff" * 1000 for number in range(2_000)}
        with contextlib.suppress(asyncssh.Error, OSError):
            async with asyncio.timeout(20):
                await connection.create_session(made[0], "version", env=env, encoding=None)
    assert site.ssh("version", source=site.source()).status == 0


async def test_octets_that_are_no_text_in_every_field_harm_nobody(site: Remote) -> None:
    bad = b"\xff\xfe\x1b[31m\n"
    async with _attacker(site, "engineer") as connection:
        for kind, more in (
            (b"direct-tcpip", (String(bad), UInt32(22), String(bad), UInt32(0))),
            (b"direct-streamlocal@openssh.com", (String(bad), String(bad), UInt32(0))),
            (b"forwarded-tcpip", (String(bad), UInt32(22), String(bad), UInt32(0))),
            (b"auth-agent@openssh.com", ()),
            (b"x11", (String(bad), UInt32(0))),
        ):
            connection.send_packet(90, String(kind), UInt32(77), UInt32(1), UInt32(1), *more)
        for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com", b"cancel-tcpip-forward", bad):
            connection.send_packet(80, String(name), Boolean(True), String(bad), UInt32(22))
        connection.send_packet(4, Boolean(True), String(bad), String(bad))
        connection.send_packet(2, String(bad * 100))
        connection.send_packet(1, UInt32(11), String(ESCAPES.encode()), String(bad))
        await _gone(connection, 5)
    async with _attacker(site, "engineer") as connection:
        for command in (bad, b"\x1b]52;c;AAAA\x07"):
            with contextlib.suppress(asyncssh.Error):
                await connection.run(command, encoding=None, timeout=10)


# -- what is shown ------------------------------------------------------------------------------------------------


async def test_escapes_in_commands_and_names_reach_no_terminal_and_no_log(site: Remote) -> None:
    wild = ESCAPES.encode() + b" \xc2\x9b31m \xe2\x80\xae"
    async with _attacker(site, "engineer") as connection:
        process = await connection.create_process(wild, term_type=ESCAPES, encoding=None)
        shown = site.bastion.cli("sessions")
        status = site.esa.cli("techsupport", "status")
        who = site.esa.cli("who")
        await process.wait_closed()
    for said in (shown.out, status.out, who.out, site.bastion.cli("sessions", "--json").out):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said), said
        assert "\n<2>forged" not in said
    for machine in (site.bastion, site.esa):
        for log in (machine.dir / "log").rglob("*"):
            if log.is_file() and log.suffix != ".jsonl":
                text = log.read_text()
                assert not {"\x1b", "\x07", "\x9b"} & set(text), (log, text)
                assert "\n<2>forged" not in text, log


def test_a_stranger_who_says_he_leaves_forges_no_line_of_the_diagnostics(site: Remote) -> None:
    log = site.bastion.dir / "log" / "bastion.out"
    assert "\x1b" not in log.read_text()
    assert "\n<2>" not in log.read_text()


# -- passwords and time, at the second appliance -------------------------------------------------------------------


def _login(site: Remote, one: Machine, password: str, origin: str = "ana") -> subprocess.CompletedProcess[str]:
    """Log in as service with a password, by stock ssh, right at the appliance's own socket."""
    ask = site.dir / "askpass"
    ask.write_text('#!/bin/sh\nprintf "%s\\n" "$GIVEN"\n')
    ask.chmod(stat.S_IRWXU)
    known = site.dir / "known-one"
    host = ssh.public_text(ssh.read_key(one.dir / "keys" / "host_ed25519"))
    known.write_text(ssh.known_hosts_line("one", host) + "\n")
    proxy = f"{sys.executable} {PIPE} {one.dir}/run/console-service.sock {origin}"
    options = [f"UserKnownHostsFile={known}", f"ProxyCommand={proxy}", "PreferredAuthentications=keyboard-interactive"]
    options += ["NumberOfPasswordPrompts=1", "StrictHostKeyChecking=yes"]
    words = ["ssh", "-F", "none", *(word for each in options for word in ("-o", each)), "service@one", "version --json"]
    environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "GIVEN": password}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)


def _password(site: Remote, one: Machine) -> str:
    return str(site.desk("password", CASE, one.serial, "--json").document["password"])


def test_a_password_is_good_once_and_not_in_the_next_activation(site: Remote) -> None:
    one = site.sma
    first, second = _password(site, one), _password(site, one)
    assert json.loads(_login(site, one, first).stdout)["serial"] == one.serial
    before = len(one.lines("log/service.jsonl", "service-refused"))
    assert _login(site, one, first).returncode == 255
    refused = eventually(lambda: one.lines("log/service.jsonl", "service-refused")[before:])
    assert [line["why"] for line in refused] == ["wrong password"]
    seed = site.enable(one, "sshaccess")["seed"]
    assert _login(site, one, second).returncode == 255, "of the activation before"
    site.take_seed(one.serial, seed)
    assert json.loads(_login(site, one, _password(site, one)).stdout)["serial"] == one.serial


def test_twenty_failures_disable_access_alert_once_and_the_next_activation_is_free(site: Remote) -> None:
    one = site.sma
    seed = site.enable(one, "sshaccess")["seed"]
    site.take_seed(one.serial, seed)
    for number in range(20):
        assert _login(site, one, "AAAAAAAAAAAAAAAA", f"eve{number}").returncode == 255
        if one.lines("log/service.jsonl", "service-given-up"):
            break
    eventually(lambda: one.lines("log/service.jsonl", "service-locked"), "passwords are locked after five")
    stranger = site.dir / "stranger"
    ssh.write_key(stranger, ssh.make_key())
    for number in range(20):
        if one.lines("log/service.jsonl", "service-given-up"):
            break
        _try_key(site, one, stranger, f"mallory{number // 4}")
    given_up = eventually(lambda: one.lines("log/service.jsonl", "service-given-up"))
    assert len(given_up) == 1
    eventually(lambda: one.cli("techsupport", "status", "--json").document["mode"] == "disabled")
    log, said = one.dir / "log" / "cli_logs" / "cli.current", "remote access is disabled after 20 failed service logins"
    eventually(lambda: said in log.read_text())
    assert log.read_text().count(said) == 1
    seed = site.enable(one, "sshaccess")["seed"]
    site.take_seed(one.serial, seed)
    assert json.loads(_login(site, one, _password(site, one)).stdout)["serial"] == one.serial


def _try_key(site: Remote, one: Machine, key: Path, origin: str) -> None:
    proxy = f"{sys.executable} {PIPE} {one.dir}/run/console-service.sock {origin}"
    options = [f"UserKnownHostsFile={site.dir / 'known-one'}", f"ProxyCommand={proxy}", "BatchMode=yes"]
    words = ["ssh", "-F", "none", "-i", str(key), *(word for each in options for word in ("-o", each))]
    ran([*words, "-o", "IdentitiesOnly=yes", "service@one", "version"])


@needs("faketime")
def test_a_clock_that_is_set_back_buys_no_time(site: Remote) -> None:
    one = site.sma
    opened = site.enable(one, "tunnel")
    assert opened["tunnel"] == "open"
    until = opened["until"]
    try:
        one.stop("tunnel-client")
        (library,) = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        lies = [f"LD_PRELOAD={library}", "FAKETIME=+8d", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
        one.start("tunnel-client", before=["env", *lies])
        eventually(lambda: one.ask("tunnel-client", "techsupport_status")["tunnel"] in ("expired", "draining"))
        eventually(lambda: not site.online(one.name))
        one.stop("tunnel-client")
        one.start("tunnel-client")
        time.sleep(1)
        status = one.ask("tunnel-client", "techsupport_status")
        assert (status["tunnel"], status["until"]) == ("expired", until)
        assert not site.online(one.name)
    finally:
        one.cli("techsupport", "disable")


def test_a_clone_freezes_the_serial_until_a_human_thaws_it(site: Remote) -> None:
    one = site.sma
    assert site.enable(one, "tunnel")["tunnel"] == "open"
    copies = site.dir / "copy-of-state"
    one.stop("tunnel-client")
    shutil.copytree(one.dir / "state", copies)
    generation = one.dir / "state" / "generation.json"
    one.start("tunnel-client")
    eventually(lambda: generation.read_bytes() != (copies / "generation.json").read_bytes())
    eventually(lambda: site.online(one.name))
    before = len(site.audit("clone"))
    one.stop("tunnel-client")
    shutil.rmtree(one.dir / "state")
    copies.rename(one.dir / "state")  # a snapshot of the machine was brought back
    one.start("tunnel-client")
    status = eventually(lambda: _verdict(one, "frozen"), lambda: str(one.ask("tunnel-client", "techsupport_status")))
    assert "thaw" in status["problem"] or "support" in status["problem"]
    assert len(site.audit("clone")) == before + 1
    eventually(lambda: not site.online(one.name))
    assert site.desk("appliances", "--json").out.count('"frozen') >= 1
    site.desk("thaw", one.serial)
    eventually(lambda: site.online(one.name))
    one.cli("techsupport", "disable")


def _verdict(one: Machine, verdict: str) -> dict[str, Any]:
    status: dict[str, Any] = one.ask("tunnel-client", "techsupport_status")
    return status if verdict in {each["verdict"] for each in status["attempts"]} else {}


# -- what the appliance meets ---------------------------------------------------------------------------------------


class _Thief(asyncssh.SSHServer):
    """A man in the middle: counts whoever begins to log in."""

    logins = 0

    def begin_auth(self, username: str) -> bool:
        _Thief.logins += 1
        return True


@contextlib.contextmanager
def _listening(port: int, serve: Any) -> Iterator[None]:
    """Run asyncio servers of a test in a thread, for daemons to meet."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve(port), loop).result(60)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def test_a_man_in_the_middle_is_named_by_his_key_and_sent_nothing(site: Remote) -> None:
    one, key = site.sma, ssh.make_key()

    async def serve(port: int) -> Any:
        version = "Gatepost_1.0 GatepostTunnels1"
        return await asyncssh.listen(
            f"{NET}.0.1", port, server_factory=_Thief, server_host_keys=[key], server_version=version
        )

    port = free_port(f"{NET}.0.1")
    with _listening(port, serve):
        status = site.enable(one, "tunnel", "--port", str(port))
        by_port = {each["port"]: each for each in status["attempts"]}
        assert (by_port[port]["verdict"], by_port[port]["stage"]) == ("host-key", "kex")
        assert ssh.fingerprint(ssh.public_text(key)) in by_port[port]["detail"]
        assert _Thief.logins == 0
        assert (status["tunnel"], status["port"]) == ("open", site.ports[0])
    one.cli("techsupport", "disable")


_SAID = {
    "banner flood": b"banner flood\r\n" * 200,
    "slow banner": b"S",
    "a huge packet": b"SSH-2.0-Gatepost_1.0 GatepostTunnels1\r\n\x7f\xff\xff\xff",
    "escapes": ESCAPES.encode() + b"\r\n",
    "escapes as a version": b"SSH-2.0-" + ESCAPES.encode() + b"\r\n",
}


def test_what_floods_or_stalls_a_probe_ends_in_time_and_reaches_no_terminal(site: Remote) -> None:
    one, ports = site.sma, {free_port(f"{NET}.0.1"): said for said in _SAID.values()}

    async def serve(port: int) -> Any:
        said = ports[port]

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while True:
                    writer.write(said)
                    await writer.drain()
                    await asyncio.sleep(0.01 if len(said) > 100 else 0.2)
            writer.close()

        return await asyncio.start_server(talk, f"{NET}.0.1", port)

    one.stop("tunnel-client")
    one.set(tunnel={"ports": [*ports, site.ports[0]]})
    one.start("tunnel-client")
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(_listening(port, serve))
        begun = time.monotonic()
        done = one.cli("techsupport", "probe")
        assert time.monotonic() - begun < 60
        shown = one.cli("techsupport", "status")
    assert f"Port {site.ports[0]} works" in done.out, done
    said_all = done.out + shown.out + (one.dir / "log" / "tunnel-client.out").read_text()
    assert not {"\x1b", "\x07"} & set(said_all)
    assert "\n<2>" not in said_all
    one.stop("tunnel-client")
    one.set(tunnel={"ports": site.ports[:1]})
    one.start("tunnel-client")


# -- what bad input gets ------------------------------------------------------------------------------------------


def test_a_mistyped_seed_is_told_at_once_and_burns_nothing(site: Remote) -> None:
    log = site.bastion.dir / "keyd" / "audit.jsonl"
    before = log.read_bytes()
    for wrong in (site.seed[:-1] + ("0" if site.seed[-1] != "0" else "1"), site.seed[:-1]):
        for _ in range(6):
            done = site.take_seed(site.esa.serial, wrong, status=65)
            assert done.err.count("\n") == 1
            assert "mistyped" in done.err or "characters" in done.err
            assert wrong not in done.err
    assert log.read_bytes() == before, "keyd was not asked"
    site.take_seed(site.esa.serial, site.seed)


def test_an_appliance_that_is_unknown_or_away_is_one_line_with_when_it_was_last_seen(site: Remote) -> None:
    away = site.ssh("version", name=site.sma.name.replace(site.sma.name[0], "0" if site.sma.name[0] != "0" else "1", 1))
    assert (away.status, away.out) == (255, "")
    one = site.sma
    site.desk("case", "open", "SR2", "--serial", one.serial, "--engineer", ENGINEER)
    site.desk("case", "approve", "SR2", "--by", "ben")
    seed = site.enable(one, "tunnel")["seed"]
    eventually(lambda: site.online(one.name))
    site.take_seed(one.serial, seed, case="SR2")
    one.cli("techsupport", "disable")
    eventually(lambda: not site.online(one.name))
    words = ("ca", "sign", "--key", f"{site.dir / ENGINEER}.pub", "--engineer", ENGINEER, "--case", "SR2")
    site.desk(*words, "--out", str(site.dir / "sr2-cert.pub"))
    flags = ["-o", f"CertificateFile={site.dir / 'sr2-cert.pub'}", "-o", f"IdentityFile={site.dir / ENGINEER}"]
    hidden = site.dir / f"{ENGINEER}-cert.pub"
    hidden.rename(site.dir / "hidden")
    try:
        done = ran(["ssh", *site.options(), *flags, "-p", str(site.engineers), f"{one.name}@{NET}.0.2", "version"])
    finally:
        (site.dir / "hidden").rename(hidden)
    assert (done.status, done.out, done.err.count("\n")) == (69, "", 1), done
    assert "last seen" in done.err, done
    unknown = site.desk("case", "open", "SR3", "--serial", "0000", "--engineer", ENGINEER, status=69)
    assert unknown.err.count("\n") == 1


def test_no_dns_says_which_servers_were_asked_and_a_bad_port_which_to_try(site: Remote) -> None:
    one, closed = site.esa, free_port(f"{NET}.0.1")
    probe = one.cli("techsupport", "probe")
    assert f"Port {site.ports[0]} works: techsupport tunnel --port {site.ports[0]}" in probe.out
    status = site.enable(site.sma, "tunnel", "--port", str(closed))
    assert {each["port"]: each["verdict"] for each in status["attempts"]}[closed] == "refused"
    assert status["port"] == site.ports[0]
    site.sma.cli("techsupport", "disable")
    server = site.stop_dns()
    try:
        time.sleep(5.5)  # what was learned has a life of five seconds
        done = site.sma.cli("techsupport", "probe")
        assert HOST in done.out + done.err, done
        assert server in done.out + done.err, done
    finally:
        site.start_dns()
