"""core.ssh against itself and against stock OpenSSH: keys, certificates, limits, commands, failures by name."""

import asyncio
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from core import ssh
from core.errors import GatepostError
from core.ssh.admission import AcceptGate, network_of
from core.ssh.option import CIPHERS, KEX, MACS
from core.ssh.server import bind
from tests.support.service import running

USER = "ana"


class _Session(asyncssh.SSHServerSession[bytes]):
    """Answers `exec`: prints the command, echoes standard input, exits with the number at its end."""

    def __init__(self) -> None:
        self._received = b""
        self._command = ""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        if self._command.startswith("at once"):
            self.eof_received()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._received += data

    def eof_received(self) -> bool:
        self._chan.write(self._command.encode() + b"|" + self._received)
        self._chan.write_stderr(b"bad byte \xff")
        self._chan.exit(int(self._command.split()[-1]))
        return True


class _Server(asyncssh.SSHServer):
    """Takes one plain key, or certificates of one CA for the principal `sn-1`, for user `ana`."""

    seen: list[ssh.CertificateFacts | None]

    def __init__(self, key: str, ca: str, seen: list[ssh.CertificateFacts | None]) -> None:
        self._key, self._ca, self.seen = key, ca, seen

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and ssh.same_key(self._key, key)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return ssh.same_key(self._ca, key)

    def auth_completed(self) -> None:
        self.seen.append(ssh.certificate_of(self._conn))

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], _Session]:
        return self._conn.create_server_channel(encoding=None), _Session()


class _Bench:
    """A listening server and the keys to it."""

    def __init__(self, folder: Path, limits: ssh.AcceptLimits | None = None) -> None:
        self.folder = folder
        self.host_key, self.ca = ssh.make_key(), ssh.make_key()
        self.key_path = folder / "key"
        ssh.write_key(self.key_path, ssh.make_key("ana"))
        self.public = ssh.public_text(ssh.read_key(self.key_path))
        self.seen: list[ssh.CertificateFacts | None] = []
        self.refusals: list[ssh.Refusal] = []
        factory: Callable[[], asyncssh.SSHServer] = lambda: _Server(  # noqa: E731
            self.public, ssh.public_text(self.ca), self.seen
        )
        self.listener = ssh.SshListener(
            "test",
            [("127.0.0.1", 0), folder / "s.sock"],
            ssh.server_options(factory, [self.host_key], version="Gatepost_1.0 GatepostTunnels1"),
            limits=limits,
            refused=self.refusals.append,
        )

    @property
    def port(self) -> int:
        address = self.listener.addresses[0]
        assert isinstance(address, tuple)
        return address[1]

    def run(self, command: str, **changes: object) -> "asyncio.Future[ssh.CommandResult]":
        arguments: dict[str, object] = {
            "host": "127.0.0.1",
            "port": changes.get("port") or self.port,
            "username": USER,
            "key_path": self.key_path,
            "known_host_key": ssh.public_text(self.host_key),
            "command": command,
            "timeout_s": 5,
        }
        return ssh.run_command(**(arguments | changes))  # type: ignore[arg-type,return-value]


async def test_a_command_gives_status_and_raw_bytes(tmp_path: Path) -> None:
    bench = _Bench(tmp_path)
    async with running(bench.listener):
        result = await bench.run("exit 7", stdin=b"\x00\xff")
    assert result == ssh.CommandResult(7, b"exit 7|\x00\xff", b"bad byte \xff")
    assert bench.seen == [None]


async def test_a_command_that_ends_before_its_input_was_sent_gives_its_answer_all_the_same(tmp_path: Path) -> None:
    bench = _Bench(tmp_path)
    async with running(bench.listener):
        for stdin in (b"", b"unread" * 10_000):
            result = await bench.run("at once 3", stdin=stdin)
            assert (result.status, result.stdout) == (3, b"at once 3|")


async def test_failures_are_told_apart(tmp_path: Path) -> None:
    bench = _Bench(tmp_path)
    ssh.write_key(tmp_path / "other", ssh.make_key())
    async with running(bench.listener):
        with pytest.raises(ssh.SshHostKeyChanged):
            await bench.run("exit 0", known_host_key=ssh.public_text(ssh.make_key()))
        with pytest.raises(ssh.SshAuthFailed):
            await bench.run("exit 0", key_path=tmp_path / "other")
        port = bench.port
    with pytest.raises(ssh.SshRefused):
        await bench.run("exit 0", port=port)
    assert bench.seen == []


async def test_a_server_that_says_nothing_is_a_time_out(tmp_path: Path) -> None:
    bench = _Bench(tmp_path)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as silent:
        with pytest.raises(ssh.SshTimeout):
            await bench.run("exit 0", port=silent.sockets[0].getsockname()[1], timeout_s=0.3)


async def test_the_host_key_shown_for_pairing_is_the_one_to_pin(tmp_path: Path) -> None:
    bench = _Bench(tmp_path)
    async with running(bench.listener):
        shown = await ssh.host_key_fingerprint("127.0.0.1", bench.port)
    assert ssh.same_key(shown.public, bench.host_key)
    assert shown.fingerprint == ssh.fingerprint(bench.host_key)


@pytest.mark.parametrize(
    ("principals", "life_s", "allowed"),
    [([USER], 60, True), (["other"], 60, False), ([USER], -120, False)],
    ids=["right", "other principal", "expired"],
)
async def test_certificates(tmp_path: Path, principals: list[str], life_s: float, allowed: bool) -> None:
    bench = _Bench(tmp_path)
    key = ssh.make_key()
    if life_s < 0:
        certificate = bench.ca.generate_user_certificate(key, "id", principals=principals, valid_before="-1m")
    else:
        certificate = ssh.user_certificate(
            bench.ca, key, key_id="ana@C1#1", principals=principals, life_s=life_s, serial=9
        )
    assert await _login(bench, key, certificate) is allowed
    if allowed:
        facts = bench.seen[0]
        assert facts is not None
        assert (facts.key_id, facts.serial, facts.principals) == ("ana@C1#1", 9, (USER,))


async def test_a_certificate_without_principals_is_refused_where_asyncssh_alone_would_take_it(
    tmp_path: Path,
) -> None:
    bench = _Bench(tmp_path)
    key = ssh.make_key()
    assert not await _login(bench, key, bench.ca.generate_user_certificate(key, "everybody"))
    with pytest.raises(ValueError, match="without principals"):
        ssh.user_certificate(bench.ca, key, key_id="x", principals=[], life_s=60)


async def _login(bench: _Bench, key: asyncssh.SSHKey, certificate: asyncssh.SSHCertificate) -> bool:
    options = ssh.client_options(
        USER,
        ssh.known_hosts_line("127.0.0.1", ssh.public_text(bench.host_key)),
        host_key_alias="127.0.0.1",
        keys=[(key, certificate)],
    )
    async with running(bench.listener):
        try:
            async with asyncssh.connect("127.0.0.1", bench.port, config=None, options=options):
                return True
        except asyncssh.PermissionDenied:
            return False


async def test_silent_connections_are_capped_and_reaped(tmp_path: Path) -> None:
    bench = _Bench(tmp_path, ssh.AcceptLimits(unauthenticated=50, unauthenticated_per_source=3, login_timeout_s=0.5))
    async with running(bench.listener):
        streams = [await asyncio.open_connection("127.0.0.1", bench.port) for _ in range(5)]
        first = [await reader.readline() for reader, _ in streams]
        assert [line.startswith(b"SSH-2.0-Gatepost_1.0 GatepostTunnels1") for line in first] == [True] * 3 + [False] * 2
        async with asyncio.timeout(30):
            for reader, _ in streams:
                await reader.read()
        for _, writer in streams:
            writer.close()
        assert (await bench.run("exit 0")).status == 0
    assert sorted({refusal.reason for refusal in bench.refusals}) == [
        "did not log in in time",
        "too many connections from this source that have not logged in",
    ]


async def test_only_strong_algorithms_are_offered(tmp_path: Path) -> None:
    bench = _Bench(tmp_path)
    weak = {
        "kex_algs": ["diffie-hellman-group14-sha256", "ecdh-sha2-nistp256"],
        "encryption_algs": ["aes128-cbc", "chacha20-poly1305@openssh.com"],
    }
    async with running(bench.listener):
        for name, algorithms in weak.items():
            with pytest.raises(asyncssh.KeyExchangeFailed):
                await asyncssh.connect("127.0.0.1", bench.port, config=None, known_hosts=None, **{name: algorithms})
    assert not any("sha1" in name or "nistp" in name for name in KEX + CIPHERS + MACS)


def test_the_gate_forgets_who_left() -> None:
    gate = AcceptGate(ssh.AcceptLimits(unauthenticated=2, unauthenticated_per_source=1, connections=3))
    assert gate.refuse("192.0.2.1") is None
    assert gate.refuse("192.0.2.1") == ("source", "too many connections from this source that have not logged in")
    assert gate.refuse("192.0.2.2") is None
    assert gate.refuse("192.0.2.3") == ("full", "too many connections that have not logged in")
    gate.authenticated("192.0.2.1")
    assert gate.refuse("192.0.2.1") is None
    gate.authenticated("192.0.2.1")
    assert gate.refuse("192.0.2.4") == ("full", "too many connections")
    gate.gone()
    assert gate.refuse("192.0.2.4") is None


def test_one_ipv6_network_is_one_source() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")


def test_key_files_are_private_and_stock_ssh_keygen_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "host_ed25519"
    key = ssh.ensure_key(path, "gatepost sn-1")
    assert ssh.same_key(ssh.ensure_key(path), key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True).stdout
    assert ssh.fingerprint(key) in shown
    assert sorted(p.name for p in tmp_path.iterdir()) == ["host_ed25519", "host_ed25519.pub"]


def test_a_certificate_permits_only_what_is_named(tmp_path: Path) -> None:
    certificate = ssh.user_certificate(
        ssh.make_key(), ssh.make_key(), key_id="ana@C1#1", principals=["sn-1"], life_s=600, permit_pty=True
    )
    (tmp_path / "c-cert.pub").write_text(ssh.certificate_text(certificate) + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-Lf", tmp_path / "c-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert "permit-pty" in shown
    assert "permit-port-forwarding" not in shown
    assert "permit-agent-forwarding" not in shown
    assert "Critical Options: (none)" in shown, "source-address on one that goes through a tunnel ends the connection"
    facts = ssh.certificate_facts(ssh.read_certificate(tmp_path / "c-cert.pub"))
    assert facts.valid_before_at - facts.valid_after_at == 660


def test_a_broken_key_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("nothing")
    with pytest.raises(GatepostError, match="not an SSH private key") as caught:
        ssh.read_key(tmp_path / "k")
    assert caught.value.status == 78


def test_a_socket_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "console-service.sock").mkdir()
    with pytest.raises(GatepostError, match=r"console: socket .*/console-service\.sock") as caught:
        bind("console", tmp_path / "console-service.sock")
    assert caught.value.status == 73


async def test_a_name_that_no_host_can_have_is_an_answer_and_no_incident() -> None:
    with pytest.raises(ssh.SshError, match=r"a\.\.b:22"):
        await ssh.host_key_fingerprint("a..b", 22)


_LOADED = """
import sys
sys.addaudithook(lambda event, args: print(event, args) if event == "subprocess.Popen" else None)
import daemons.console, daemons.keyd, daemons.pair
assert "asyncssh" in sys.modules
"""


def test_every_start_searched_for_c_libraries_with_a_compiler() -> None:
    loaded = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, timeout=60, check=False)
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, "", "")
