"""Remote access with programs that this project did not write, against the real daemons of `remote_daemons.py`.

As engineers: OpenSSH's ssh, scp and sftp (also through `-J`), plink, paramiko. As appliances: `ssh -R`, autossh and
dbclient, behind which a stock sshd stands. As judges: ssh-audit, ssh-keygen -Y verify, asciinema, telnet.

dbclient (dropbear) knows no certificates and no AES-GCM: it cannot be an engineer at the bastion, and is here an
appliance and a service login by one-time password where `old_clients` lets its ciphers in.
"""

import contextlib
import getpass
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import pki, ssh
from tests.support.lab import ran
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.remote_daemons import CASE, COLLEAGUE, ENGINEER, NET, Remote, new_exchange, remote
from tests.support.waiting import eventually
from tunnel.keyd.keyring import Keyring
from tunnel.seed.code import new_code

pytestmark = [pytest.mark.slow, needs("ssh", "scp", "sftp", "ssh-keygen", "sshd")]
_SSH_AUDIT = Path(sys.executable).parent / "ssh-audit"
_CONTENT = bytes(range(256)) * 2048
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()


@pytest.fixture(scope="module")
def site() -> Iterator[Remote]:
    with remote(bastion={"registration": "optional", "old_clients": True}, tunnel={"old_clients": True}) as made:
        (made.esa.dir / "captures" / "a.pcap").write_bytes(_CONTENT)
        (made.sma.dir / "captures" / "a.pcap").write_bytes(_CONTENT)
        (made.dir / "up").write_bytes(_CONTENT)
        yield made


# -- engineers ----------------------------------------------------------------------------------------------------


def test_ssh_runs_commands_and_the_console_through_the_bastion(site: Remote) -> None:
    done = site.ssh("version --json")
    assert json.loads(done.out)["serial"] == site.esa.serial
    assert (site.ssh("no-such-command").status, site.ssh("techsupport disable").status) == (64, 77)
    shown = ran(site.ssh_words(flags=["-tt"]), stdin="version\rexit\r")
    assert f"{site.esa.serial}" in shown.out
    assert "(SERVICE)>" in shown.out


def test_ssh_goes_straight_through_and_on_to_a_second_appliance(site: Remote) -> None:
    for one in (site.esa, site.sma):
        done = ran(["ssh", "-F", str(site.config), one.name, "version --json"])
        assert json.loads(done.out)["serial"] == one.serial, done
    assert [line["serial"] for line in site.audit("session", mode="through")][-2:] == [site.esa.name] * 2


def test_a_proxy_ends_when_its_input_ends_also_after_the_appliance_has_ended_its_side(site: Remote) -> None:
    """`ssh -W` waits for our close of its channel; where SIGHUP is ignored nothing else ends it."""
    words = site.ssh_words(flags=["-W", f"{site.esa.name}:22"])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        try:
            proxy.stdin.write(b"this is not SSH\r\n")
            proxy.stdin.flush()
            assert proxy.stdout.read().startswith(b"SSH-2.0-")  # and to its end
            proxy.stdin.close()
            assert proxy.wait(30) == 0
        finally:
            proxy.kill()


def _transfers(site: Remote, program: str) -> list[tuple[str, list[str]]]:
    """Give command lines that put `up` and fetch the capture, once recorded and once straight through."""
    recorded = ([*site.options(), "-P", str(site.engineers)], f"{site.esa.name}@{NET}.0.2")
    through = (["-F", str(site.config)], site.esa.name)
    flags = ["-O"] if program == "scp -O" else []
    lines = []
    for mark, (options, place) in (("recorded", recorded), ("through", through)):
        path = f"configuration/{program.replace(' ', '')}-{mark}"
        lines.append((path, ["scp", *flags, *options, str(site.dir / "up"), f"{place}:{path}"]))
        lines.append(("", ["scp", *flags, *options, f"{place}:captures/a.pcap", str(site.dir / "down")]))
    return lines


@pytest.mark.parametrize("program", ["scp", "scp -O"])
def test_scp_both_protocols_both_ways_recorded_and_straight_through(site: Remote, program: str) -> None:
    for path, words in _transfers(site, program):
        (site.dir / "down").unlink(missing_ok=True)
        done = ran(words)
        assert done.status == 0, done
        assert (site.esa.dir / path if path else site.dir / "down").read_bytes() == _CONTENT
    eventually(lambda: len(site.audit("file-close", sha256=_SHA256)) >= 2)


def test_sftp_fetches_lists_and_puts_and_both_ends_know_the_hash(site: Remote) -> None:
    before = len(site.audit("file-close", sha256=_SHA256)), len(_given(site))
    orders = f"ls captures\nget captures/a.pcap {site.dir}/got\nput {site.dir}/up configuration/by-sftp\nbye\n"
    words = ["sftp", *site.options(), "-P", str(site.engineers), "-b", "-", f"{site.esa.name}@{NET}.0.2"]
    done = ran(words, stdin=orders)
    assert done.status == 0, done
    assert "captures/a.pcap" in done.out
    assert (site.dir / "got").read_bytes() == (site.esa.dir / "configuration" / "by-sftp").read_bytes() == _CONTENT
    eventually(
        lambda: (len(site.audit("file-close", sha256=_SHA256)), len(_given(site))) == (before[0] + 2, before[1] + 2)
    )


def _given(site: Remote) -> list[dict[str, Any]]:
    return site.esa.lines("log/service.jsonl", "service-file", sha256=_SHA256)


@needs("plink", "puttygen")
def test_plink_with_a_certificate_runs_a_command(site: Remote) -> None:
    key = site.dir / ENGINEER
    subprocess.run(["puttygen", str(key), "-O", "private", "-o", f"{key}.ppk"], check=True)
    options = ["-batch", "-ssh", "-P", str(site.engineers), "-i", f"{key}.ppk", "-cert", f"{key}-cert.pub"]
    place = f"{site.esa.name}@{NET}.0.2"
    good = ran(["plink", *options, "-hostkey", ssh.fingerprint(site.pinned), place, "version --json"])
    assert json.loads(good.out)["serial"] == site.esa.serial, good
    foreign = ssh.fingerprint(ssh.public_text(ssh.make_key()))
    bad = ran(["plink", *options, "-hostkey", foreign, place, "version --json"])
    assert (bad.status, bad.out) == (1, "")


@needs(sys.executable)
def test_paramiko_with_a_certificate_has_commands_a_terminal_and_files(site: Remote) -> None:
    import paramiko

    key = paramiko.Ed25519Key.from_private_key_file(str(site.dir / ENGINEER))
    key.load_certificate(str(site.dir / f"{ENGINEER}-cert.pub"))
    client = paramiko.SSHClient()
    client.load_host_keys(str(_pins(site)))
    with contextlib.closing(client):
        client.connect(
            f"{NET}.0.2", site.engineers, site.esa.name, pkey=key, allow_agent=False, look_for_keys=False, timeout=20
        )
        _, out, _ = client.exec_command("version --json", timeout=20)
        assert json.loads(out.read())["serial"] == site.esa.serial
        assert out.channel.recv_exit_status() == 0
        with client.open_sftp() as files:
            files.get("captures/a.pcap", str(site.dir / "by-paramiko"))
            with pytest.raises(OSError, match=r"."):
                files.open("../keys/host_ed25519")
        assert (site.dir / "by-paramiko").read_bytes() == _CONTENT
        terminal = client.invoke_shell("xterm", 100, 30)
        terminal.settimeout(20)
        terminal.resize_pty(120, 40)
        terminal.send(b"version\r")
        shown = b""
        while site.esa.serial.encode() not in shown:
            shown += terminal.recv(4096)
        with pytest.raises(paramiko.ChannelException):
            client.get_transport().open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1))  # type: ignore[union-attr]


def _pins(site: Remote) -> Path:
    site.options()
    return site.dir / "pinned"


@needs("telnet")
def test_telnet_sees_that_the_bastion_speaks_first(site: Remote) -> None:
    words = ["telnet", f"{NET}.0.1", str(site.ports[0])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as telnet:
        assert telnet.stdout is not None
        shown = [telnet.stdout.readline() for _ in range(4)]
        telnet.kill()
    assert shown[-1].strip() == b"SSH-2.0-Gatepost_1.0 GatepostTunnels1"


# -- appliances ---------------------------------------------------------------------------------------------------


class Stand:
    """What stands for an appliance: enrolled like one, with a stock sshd where the console would be."""

    def __init__(self, site: Remote, folder: Path) -> None:
        folder.mkdir()
        self.site, self.dir, self.serial = site, folder, pki.new_serial()
        self.name, self.port = self.serial.lower(), free_port(f"{NET}.0.9")
        for name in ("tunnel", "host", "user"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        request = {
            "serial": self.serial,
            "series": "c",
            "tunnel_key": _public(folder / "tunnel"),
            "host_key": _public(folder / "host"),
            "exchange_key": new_exchange()[1],
        }
        (folder / "request.json").write_text(json.dumps(request))
        site.desk("enroll", self.serial, "--request", str(folder / "request.json"))
        site.desk("case", "open", CASE, "--serial", self.serial)
        site.desk("case", "approve", CASE, "--by", COLLEAGUE)
        key = Keyring(site.bastion.dir / "keyd").support_keys()[-1]
        site.take_seed(self.serial, new_code(key.key_id, time.time() + 86_400))
        site.certify()

    @contextlib.contextmanager
    def sshd(self, address: str = f"{NET}.0.9", port: int = 0) -> Iterator[None]:
        """Run sshd for the user that runs the tests."""
        with _sshd(self.dir, address, port or self.port):
            yield

    def words(self) -> list[str]:
        """Give what `ssh` and `autossh` need to hold the tunnel."""
        options = self.site.options(
            IdentityFile=str(self.dir / "tunnel"), ExitOnForwardFailure="yes", ServerAliveInterval="5"
        )
        return [
            *options,
            "-N",
            "-R",
            f"{self.name}:22:{NET}.0.9:{self.port}",
            "-p",
            str(self.site.ports[0]),
            self.place,
        ]

    @property
    def place(self) -> str:
        return f"{self.name}@{NET}.0.1"

    def reached(self) -> str:
        """Go through the bastion to the sshd with `ssh -J`; gives what `id -un` says there."""
        known = self.dir / "known"
        known.write_text(f"{self.name} {_public(self.dir / 'host')}\n")
        options = self.site.options(IdentityFile=str(self.dir / "user"), UserKnownHostsFile=str(known))
        proxy = " ".join(self.site.ssh_words(name=self.name, flags=["-W", f"{self.name}:22"]))
        done = ran(["ssh", *options, "-o", f"ProxyCommand={proxy}", f"{getpass.getuser()}@{self.name}", "id -un"])
        return done.out.strip() or done.err

    def up(self) -> bool:
        """Tell whether the bastion has seen sshd's banner through the tunnel."""
        return self.site.online(self.name)


@contextlib.contextmanager
def _holding(*words: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that stays, and end it whatever happens."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, **more) as process:
        try:
            yield process
        finally:
            process.terminate()


def _public(key: Path) -> str:
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


@contextlib.contextmanager
def _sshd(folder: Path, address: str, port: int) -> Iterator[None]:
    Path("/run/sshd").mkdir(exist_ok=True)
    settings = {
        "Port": port,
        "ListenAddress": address,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    log = folder / "sshd.log"
    words = ["/usr/sbin/sshd", "-D", "-E", str(log), "-f", str(folder / "sshd_config")]
    with subprocess.Popen(words) as process:
        try:
            eventually(lambda: log.exists() and "listening" in log.read_text())
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def stand(site: Remote) -> Iterator[Stand]:
    made = Stand(site, site.dir / "stand")
    with made.sshd():
        yield made


def test_ssh_is_an_appliance_and_only_under_its_own_name(stand: Stand) -> None:
    user = getpass.getuser()
    with _holding("ssh", *stand.words()):
        eventually(stand.up)
        assert stand.reached() == user
        assert (stand.site.ssh("version", name=stand.name).status, stand.site.ssh("version").status) == (69, 0)
    eventually(lambda: not stand.up())
    for name in (stand.site.esa.name, "localhost"):
        words = [word.replace(f"{stand.name}:22", f"{name}:22") for word in stand.words()]
        assert ran(["ssh", *words]).status == 255
    refused = stand.site.audit("refused", rule="name", user=stand.name)
    assert [each["why"] for each in refused] == [
        f"may not listen on {stand.site.esa.name!r} port 22",
        "may not listen on 'localhost' port 22",
    ]
    assert stand.site.online(), "whose name it wanted is still there"
    line = ran(["ssh", *stand.words()[:-6], stand.place, "-p", str(stand.site.ports[0]), "id"])
    assert line.status != 0, line


@needs("openssl")
def test_ssh_inside_tls_is_an_appliance(stand: Stand) -> None:
    """`openssl s_client` wraps it, with the name for SSH that the port wants."""
    certificate = stand.site.bastion.dir / "keys" / "tls.crt"
    place = f"{NET}.0.1:{stand.site.ports[1]}"
    proxy = f"openssl s_client -quiet -alpn ssh -verify_return_error -CAfile {certificate} -connect {place}"
    with _holding("ssh", "-o", f"ProxyCommand={proxy}", *stand.words(), stderr=subprocess.DEVNULL):
        eventually(stand.up)
        assert stand.reached() == getpass.getuser()
    eventually(lambda: not stand.up())


@needs("autossh")
def test_autossh_dials_again_and_takes_its_name_over(stand: Stand) -> None:
    environment = {**os.environ, "AUTOSSH_GATETIME": "0", "AUTOSSH_POLL": "10"}
    with _holding("autossh", "-M", "0", *stand.words(), env=environment, start_new_session=True) as tunnel:
        try:
            eventually(stand.up)
            (child,) = _children(tunnel.pid)
            os.kill(child, signal.SIGSTOP)  # it hangs, and holds the name
            with _holding("ssh", *stand.words()) as newer:
                eventually(lambda: stand.site.audit("takeover", serial=stand.name))
                eventually(stand.up)
                assert stand.reached() == getpass.getuser()
                newer.kill()
            os.kill(child, signal.SIGKILL)
            eventually(lambda: (found := _children(tunnel.pid)) and found != [child])
            eventually(stand.up)
            assert stand.reached() == getpass.getuser()
        finally:
            os.killpg(tunnel.pid, signal.SIGTERM)
    eventually(lambda: not stand.up())


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_sshd_behind_an_appliance_is_reached_end_to_end_and_nothing_beside_it(site: Remote, stand: Stand) -> None:
    """A stock sshd on an address that the administrator named as a hop."""
    address = f"{NET}.0.5"
    before = site.since()
    site.take_seed(site.esa.serial, site.enable(site.esa, "tunnel", "--hops", f"{site.sma.address},{address}")["seed"])
    site.certify()
    eventually(lambda: site.online() and site.since() != before, "the tunnel of the new activation is open")
    config = site.dir / "with-foreign"
    known = site.dir / "foreign-known"
    known.write_text(f"foreign {_public(stand.dir / 'host')}\n")
    block = {
        "HostName": address,
        "Port": site.sma.console,
        "User": getpass.getuser(),
        "HostKeyAlias": "foreign",
        "IdentityFile": stand.dir / "user",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known,
        "ProxyJump": site.esa.name,
    }
    rows = "".join(f"    {name} {value}\n" for name, value in block.items())
    config.write_text(f"{site.config.read_text()}Host foreign\n{rows}")
    with stand.sshd(address, site.sma.console):
        done = ran(["ssh", "-F", str(config), "foreign", "id -un"])
        assert done.out.strip() == getpass.getuser(), done
    config.write_text(config.read_text().replace(f"HostName {address}", f"HostName {NET}.0.6"))
    assert "is not among the appliances" in (refused := ran(["ssh", "-F", str(config), "foreign", "id -un"])).err, (
        refused
    )


# -- dropbear -----------------------------------------------------------------------------------------------------


@needs("dbclient", "dropbearconvert")
def test_dbclient_is_an_appliance(stand: Stand) -> None:
    key = stand.dir / "tunnel.dropbear"
    ran(["dropbearconvert", "openssh", "dropbear", str(stand.dir / "tunnel"), str(key)])
    forward = f"{stand.name}:22:{NET}.0.9:{stand.port}"
    words = ["dbclient", "-y", "-y", "-N", "-i", str(key), "-R", forward, "-p", str(stand.site.ports[0]), stand.place]
    with _holding(*words):
        eventually(stand.up)
        assert stand.reached() == getpass.getuser()


@needs("dbclient")
def test_dbclient_logs_in_once_with_a_one_time_password(site: Remote) -> None:
    def login(password: str) -> str:
        proxy = " ".join(site.ssh_words(flags=["-W", f"{site.esa.name}:22"]))
        words = ["dbclient", "-y", "-y", "-J", proxy, f"service@{site.esa.name}", "version --json"]
        # Without a terminal of its own it reads the answer to the question from standard input.
        return ran(words, stdin=f"{password}\n", start_new_session=True).out

    given = site.desk("password", CASE, site.esa.serial, "--json").document["password"]
    assert json.loads(login(given))["serial"] == site.esa.serial
    assert login(given) == "", "once"


# -- judges -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _carried(connect: Callable[[], socket.socket]) -> Iterator[int]:
    """Give a port of 127.0.0.1 behind which something else is: a unix socket, or TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended: list[socket.socket] = []

        def pump(one: socket.socket, other: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := one.recv(65536):
                    other.sendall(data)
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_WR)
            ended.append(one)
            if other in ended:
                one.close()
                other.close()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = server.accept()
                    try:
                        far = connect()
                    except OSError:
                        near.close()
                        raise
                    for ends in ((near, far), (far, near)):
                        threading.Thread(target=pump, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def _service(site: Remote) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(site.esa.dir / "run" / "console-service.sock"))
    return sock


def _tls(site: Remote) -> socket.socket:
    context = ssl.create_default_context(cafile=str(site.bastion.dir / "keys" / "tls.crt"))
    context.check_hostname = False
    context.set_alpn_protocols(["ssh"])
    sock = context.wrap_socket(socket.create_connection((f"{NET}.0.1", site.ports[1]), 10))
    assert sock.selected_alpn_protocol() == "ssh"
    return sock


@needs(str(_SSH_AUDIT))
@pytest.mark.parametrize("old_clients", [False, True], ids=["as it comes", "with old clients"])
def test_ssh_audit_fails_nothing_on_any_front(site: Remote, old_clients: bool) -> None:
    with contextlib.ExitStack() as stack:
        places = {
            "appliances": (f"{NET}.0.1", site.ports[0]),
            "engineers": (f"{NET}.0.2", site.engineers),
            "console": (NET + ".0.3", site.esa.console),
            "TLS": ("127.0.0.1", stack.enter_context(_carried(lambda: _tls(site)))),
            "service": ("127.0.0.1", stack.enter_context(_carried(lambda: _service(site)))),
        }
        for name, (host, port) in places.items():
            said = ran([str(_SSH_AUDIT), "--no-colors", "--skip-rate-test", "-p", str(port), host]).out
            assert "SSH-2.0-Gatepost" in said, (name, said)
            assert "[fail]" not in said, (name, said)


@needs("asciinema", "script")
def test_ssh_keygen_verifies_every_recording_of_both_ends_and_asciinema_reads_them(site: Remote) -> None:
    assert site.ssh("version").status == 0
    ends = (
        (site.bastion, site.bastion.dir / "keyd" / "recording_ed25519.pub"),
        (site.esa, site.esa.dir / "keys" / "host_ed25519.pub"),
    )
    for machine, public in ends:
        signers = site.dir / "signers"
        line = " ".join(public.read_text().split()[:2])
        signers.write_text(f'gatepost namespaces="gatepost-recording" {line}\n')
        words = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "gatepost", "-n", "gatepost-recording"]
        files = sorted((machine.dir / "recordings").rglob("*.cast"))
        assert files
        for file in files:
            signature = file.with_name(file.name + ".sig")
            eventually(signature.exists)
            good = subprocess.run(
                [*words, "-s", str(signature)], input=file.read_bytes(), capture_output=True, check=False
            )
            assert good.returncode == 0, good
        changed = file.read_bytes().replace(b"0", b"1", 1)
        bad = subprocess.run([*words, "-s", str(signature)], input=changed, capture_output=True, check=False)
        assert bad.returncode == 255
    shown = [ran(["script", "-qec", f"asciinema cat {file}", "/dev/null"]) for file in files[:3]]
    assert {done.status for done in shown} == {0}, shown


def test_nothing_of_a_seed_or_a_password_is_in_any_file_of_any_machine(site: Remote) -> None:
    given = site.desk("password", CASE, site.esa.serial, "--json").document["password"]
    wanted = [site.seed.encode(), site.seed.replace("-", "").encode(), given.encode()]
    for path in site.dir.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a draft that has taken its place meanwhile
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            assert not any(each in content for each in wanted), path
