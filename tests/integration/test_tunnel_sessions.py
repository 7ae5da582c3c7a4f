"""Engineers reach an appliance through the bastion: with asyncssh and stock OpenSSH, recorded and end to end."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from tests.support.need import needs
from tests.support.remote import NAME, SERIAL, Engineer, connected
from tests.support.waiting import until
from tunnel.appliance import activation
from tunnel.audit import verify


async def _run(connection: Any, command: str, **options: Any) -> Any:
    return await connection.run(command, encoding=None, **options)


async def test_exec_is_relayed_with_status_and_errors_and_the_appliance_knows_who_it_is(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, _client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            who = await _run(connection, "who")
            failed = await _run(connection, "exit 7")
        name, case, key_id, relayed = json.loads(who.stdout)
        assert (name, case, relayed) == ("ana", "SR12345", True)
        assert key_id.startswith("ana@SR12345#")
        assert (failed.exit_status, failed.stderr) == (7, b"not so good \xff\n")
        assert await until(lambda: sum(e["event"] == "session-end" for e in support.audit()) == 2)


@needs("ssh")
async def test_stock_ssh_exec_stdin_and_exit_status(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, _client):
        engineer = Engineer(support, tmp_path / "ana")
        target = f"{NAME}@127.0.0.1"
        assert await engineer.stock(target, "cat", stdin=b"\x00\xffline\n") == (0, b"\x00\xffline\n", b"")
        status, _, errors = await engineer.stock(target, "exit 3")
        assert (status, errors) == (3, b"not so good \xff\n")
        status, out, _ = await engineer.stock("-tt", target, "size")
        assert status == 0
        assert out == b"(80, 24)", "the appliance has a size for whoever has none"


async def test_a_terminal_is_resized_and_its_end_of_input_and_signals_pass(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, _client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", term_size=(100, 30), encoding=None)
            assert await process.stdout.readexactly(15) == b"esa (SERVICE)> "
            process.change_terminal_size(120, 40)
            assert await process.stdout.readuntil(b"\n") == b"now 120x40\n"
            process.stdin.write(b"quit")
            assert (await process.wait()).exit_status == 5
            killed = await _run(connection, "signal")
            assert killed.exit_signal[0] == "TERM"
        await until(lambda: sum(e["event"] == "recording" for e in support.audit()) == 2)
        casts = [path.read_text() for path in (support.directory / "recordings").rglob("*.cast")]
        first = [json.loads(line) for line in next(text for text in casts if "(SERVICE)" in text).splitlines()]
        assert first[0]["version"] == 2
        assert (first[0]["width"], first[0]["height"], first[0]["title"]) == (100, 30, "SR12345")
        assert first[0]["gatepost"]["engineer"] == "ana"
        assert "".join(text for _, code, text in first[1:] if code == "o").startswith("esa (SERVICE)> now 120x40")
        assert [text for _, code, text in first[1:] if code == "r"] == ["120x40"]
        kinds = [json.loads(text)["kind"] for _, code, text in first[1:] if code == "m"]
        assert kinds[:2] == ["pty", "shell"]
        assert kinds[-1] == "close"


async def test_much_output_arrives_whole(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, _client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            result = await _run(connection, "flood 5000000")
        assert len(result.stdout) == 5_000_000


@needs("ssh")
async def test_straight_through_needs_the_permission_and_ends_at_the_appliance_itself(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, appliance, _client):
        plain = Engineer(support, tmp_path / "ana")
        through = Engineer(support, tmp_path / "eva", engineer="eva", forwarding=True)
        inner = ssh.known_hosts_line(NAME, ssh.public_text(appliance.host_key))
        for engineer in (plain, through):
            with engineer.known_hosts.open("a") as file:
                file.write(inner + "\n")
        for engineer in (plain, through):
            await _admit(support, engineer)
        assert await _jump(plain, support.engineers) == 255
        assert await _jump(through, support.engineers, b'["eva", "SR12345"') == 0
        modes = [each["mode"] for each in support.audit() if each["event"] == "session"]
        assert modes == ["through"]
        assert not list((support.directory / "recordings").rglob("*.cast"))


async def _admit(support: Any, engineer: Engineer) -> None:
    """Get the engineer's own key a certificate of the activation, as `ca sign --forwarding` does."""
    grant = await support.bastion.store.cases.granted("SR12345", NAME)
    facts = ssh.certificate_facts(ssh.read_certificate(engineer.certificate))
    public = ssh.public_text(ssh.read_key(engineer.key_path))
    certificate = await support.keyd.certify(grant.grant_id, public, facts.key_id, life_s=60)
    engineer.certificate.with_name("inner-cert.pub").write_text(certificate + "\n")


async def _jump(engineer: Engineer, port: int, expected: bytes = b"") -> int:
    proxy = (
        f"ssh -F none -i {engineer.key_path} -o CertificateFile={engineer.certificate} -o BatchMode=yes "
        f"-o IdentitiesOnly=yes -o UserKnownHostsFile={engineer.known_hosts} -p {port} -W %h:22 {NAME}@127.0.0.1"
    )
    inner = f"CertificateFile={engineer.certificate.with_name('inner-cert.pub')}"
    words = ("-p", "22", "-o", f"ProxyCommand={proxy}", "-o", inner, f"service@{NAME}", "who")
    status, out, _ = await engineer.stock(*words)
    assert out.startswith(expected)
    return status


async def test_straight_through_reaches_only_the_appliances_of_the_certificate(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, _client):
        engineer = Engineer(support, tmp_path / "eva", forwarding=True)
        async with engineer.connect() as connection:
            for host, port in ((NAME, 23), ("127.0.0.1", 22), ("other-1", 22)):
                with pytest.raises(asyncssh.ChannelOpenError):
                    await connection.open_connection(host, port, encoding=None)
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.start_server(lambda _h, _p: None, "", 8080)


@pytest.mark.parametrize(
    ("principals", "user", "before"),
    [([], NAME, "+5m"), (["*"], NAME, "+5m"), ([NAME], "*", "+5m"), ([NAME], "root", "+5m"), ([NAME], NAME, "-1m")],
    ids=["no principals", "pattern as principal", "user *", "user not in it", "expired"],
)
async def test_certificates_that_do_not_let_in(tmp_path: Path, principals: list[str], user: str, before: str) -> None:
    async with connected(tmp_path) as (support, _, _client):
        engineer = Engineer(support, tmp_path / "ana")
        ca = ssh.read_key(support.directory / "keyd" / "engineer_ca_ed25519")
        certificate = ca.generate_user_certificate(
            ssh.read_key(engineer.key_path), "ana@SR1#0", principals=principals, valid_after="-2m", valid_before=before
        )
        with pytest.raises(asyncssh.PermissionDenied):
            await engineer.connect(user, certificate)
        assert not any(each["event"] == "engineer" for each in support.audit())


async def test_another_authority_does_not_let_in(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, _client):
        engineer = Engineer(support, tmp_path / "ana")
        certificate = ssh.user_certificate(
            ssh.make_key(), ssh.read_key(engineer.key_path), key_id="ana@SR1#0", principals=[NAME], life_s=60
        )
        with pytest.raises(asyncssh.PermissionDenied):
            await engineer.connect(NAME, certificate)


async def test_the_appliance_itself_refuses_whom_the_bastion_should_not_have_let_through(tmp_path: Path) -> None:
    """Checked at the unix socket, as a bastion that was taken over would reach it."""
    async with connected(tmp_path) as (_support, appliance, client):
        ca, key = _authority(client), ssh.make_key()
        good = ssh.user_certificate(ca, key, key_id="a@b#" + "0" * 36, principals=[NAME], life_s=60)
        cases = [
            # First: after some failures from one origin the appliance takes nobody from there for a while.
            ("service", good, True),
            ("service", ca.generate_user_certificate(key, "nobody"), False),
            ("service", ca.generate_user_certificate(key, "x", principals=["service"]), False),
            ("service", ca.generate_user_certificate(key, "x", principals=["other-1"]), False),
            ("admin", good, False),
        ]
        for user, certificate, allowed in cases:
            assert await _inside(appliance, user, key, certificate) is allowed, (user, allowed)


def _authority(client: Any) -> asyncssh.SSHKey:
    """Give the appliance's activation a derived key that we know; the client alone writes its file."""
    ca = ssh.make_key()
    client._store(activation.changed(client._activation, service_key=ssh.public_text(ca)))
    return ca


class _UnixSocket:
    """Lets asyncssh dial a unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:
        def protocol() -> Any:
            connection = factory()
            connection.set_extra_info(remote_peername=(NAME, 22))
            return connection

        sock, other = socket.socketpair()
        near, far, loop = ssh.Half(), ssh.Half(), asyncio.get_running_loop()
        near.join(far)
        await loop.create_unix_connection(lambda: near, sock=other)  # type: ignore[type-var]
        await loop.create_unix_connection(lambda: far, str(self._path))  # type: ignore[type-var]
        return await loop.create_unix_connection(protocol, sock=sock)

    def close(self) -> None:
        """The connection ends with its socket."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


async def _inside(appliance: Any, user: str, key: Any, certificate: Any) -> bool:
    known = ssh.known_hosts_line(NAME, ssh.public_text(appliance.host_key))
    options = ssh.client_options(user, known, host_key_alias=NAME, keys=[(key, certificate)])
    try:
        connection = await ssh.dial(None, _UnixSocket(appliance.console), options)
    except asyncssh.PermissionDenied:
        return False
    connection.abort()
    await connection.wait_closed()
    return True


async def test_a_changed_host_key_of_the_appliance_is_refused(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, appliance, _client):
        other = ssh.make_key()
        await appliance.enroll(support, host_key=other, replace=True)
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            result = await _run(connection, "who")
        assert result.exit_status == 69
        assert b"host key is not the pinned one" in result.stderr


@needs("ssh")
async def test_an_appliance_without_tunnel_is_said_to_have_none(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, client):
        await client.disable({})
        await until(lambda: not support.bastion.presence.all())
        status, _, errors = await Engineer(support, tmp_path / "ana").stock(f"{NAME}@127.0.0.1", "who")
        assert status == 69
        assert errors.startswith(f"{SERIAL} has no tunnel open; it was".encode())


@needs("ssh")
async def test_a_seed_of_a_former_access_is_refused_before_the_appliance_is_touched(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, client):
        before = await support.bastion.store.appliances.published(NAME)
        seed = (await client.enable({"mode": "tunnel"}))["seed"]

        async def published_anew() -> bool:
            return await support.bastion.store.appliances.published(NAME) != before and await support.online()

        await until(published_anew)
        engineer = Engineer(support, tmp_path / "ana")
        status, _, errors = await engineer.stock(f"{NAME}@127.0.0.1", "who")
        assert (status, b"is a former one: access was enabled anew" in errors) == (77, True)
        await support.take_seed(seed)
        assert (await engineer.stock(f"{NAME}@127.0.0.1", "who"))[0] == 0


async def test_live_sessions_are_shown_on_both_sides_and_the_audit_chain_holds(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            shown = (await support.bastion.sessions({}))["sessions"]
            assert [(each["engineer"], each["serial"], each["mode"]) for each in shown] == [("ana", NAME, "recorded")]
            status = await client.status({})
            assert status["sessions"][0]["from"].startswith("ana@SR12345#")
            assert (status["mode"], status["tunnel"], status["port"]) == ("tunnel", "open", support.ports[0])
        await until(lambda: not len(support.bastion.visits))
        await until(lambda: any(each["event"] == "recording" for each in support.audit()))
    assert verify(support.directory / "log" / "audit.jsonl") >= 6


async def test_the_appliance_takes_nobody_once_access_is_disabled_even_if_the_bastion_still_could(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (_support, appliance, client):
        ca, key = _authority(client), ssh.make_key()
        good = ssh.user_certificate(ca, key, key_id="a@b#" + "0" * 36, principals=[NAME], life_s=60)
        assert await _inside(appliance, "service", key, good)
        await client.disable({})
        assert not await _inside(appliance, "service", key, good)


async def test_a_connection_ends_when_the_certificate_and_its_grace_have_run_out(tmp_path: Path) -> None:
    async with connected(tmp_path, session_grace_s=0) as (support, _, _client):
        engineer = Engineer(support, tmp_path / "ana", life_s=6.0)
        async with engineer.connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            async with asyncio.timeout(30):
                await connection.wait_closed()
        whys = [each.get("why") for each in support.audit() if each["event"] == "refused"]
        assert whys == ["the certificate and its grace have run out"]


@pytest.mark.parametrize("how", ["terminate", "case", "engineer", "certificate", "lost"])
async def test_what_is_ended_on_purpose_ends_on_the_appliance_and_only_a_lost_session_is_kept(
    tmp_path: Path, how: str
) -> None:
    settings = {"session_grace_s": 0} if how == "certificate" else {}
    async with connected(tmp_path, **settings) as (support, appliance, _client):
        life = {"life_s": 6.0} if how == "certificate" else {}
        verbs, live = support.bastion.verbs, appliance.side.desk.live
        async with Engineer(support, tmp_path / "ana", **life).connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            (session,) = live.values()
            if how == "terminate":
                await verbs["terminate"]({"id": (await verbs["sessions"]({}))["sessions"][0]["id"]})
            elif how == "lost":
                connection.abort()
            elif how == "case":
                await support.bastion.store.cases.close("SR12345")
                await verbs["recheck"]({})
            elif how == "engineer":
                await support.bastion.store.engineers.disable("ana")
                await verbs["recheck"]({})
            await until(lambda: session.detached_at or not live)
        assert list(live.values()) == ([session] if how == "lost" else [])
        assert session.how == ("" if how == "lost" else "the support organisation ended it")


@pytest.mark.parametrize(("policy", "allowed"), [("strict", False), ("best-effort", True)])
@needs("ssh")
async def test_what_cannot_be_recorded_is_refused_where_the_policy_is_strict(
    tmp_path: Path, policy: str, allowed: bool
) -> None:
    async with connected(tmp_path, recording=policy) as (support, _, _client):
        (support.directory / "recordings").write_text("in the way")
        status, out, _ = await Engineer(support, tmp_path / "ana").stock(f"{NAME}@127.0.0.1", "who")
        assert (status == 0) is allowed
        assert (b"SR12345" in out) is allowed
