"""Daemons under a service manager: what they tell it, what it hands them, and what it asks of them.

The manager is the test: a socket for sd_notify(3), variables, signals. `test_systemd_*.py` has the real one.
"""

import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.test_daemons import Machine, Started, make, started
from tests.support.lab import ask_socket, gatepost, refused, short_folder
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
SHIM = Path(__file__).parents[1] / "support" / "failsync.c"


@pytest.fixture(scope="module")
def esa() -> Iterator[Machine]:
    with short_folder() as folder:
        yield make("esa", folder / "esa")


@pytest.fixture(scope="module")
def bastion() -> Iterator[Machine]:
    with short_folder() as folder:
        yield make("bastion", folder / "bastion")


_HAND_OVER = """
import os, sys
numbers = [int(one) for one in sys.argv[1].split(",")]
for place, number in enumerate([os.dup(one) for one in numbers]):
    os.dup2(number, 3 + place)
    os.set_inheritable(3 + place, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(numbers)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def activated(machine: Machine, daemon: str, **sockets: socket.socket) -> Iterator[Started]:
    """Start a daemon as a service manager does that listens on its behalf, and wait until it is ready."""
    numbers = [sock.fileno() for sock in sockets.values()]
    names = ":".join(name.replace("_", "-") for name in sockets)
    through = [sys.executable, "-c", _HAND_OVER, ",".join(map(str, numbers)), names]
    with started(machine, daemon, through=through, descriptors=numbers) as one:
        one.notice("READY=1")
        yield one


def greeting(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.settimeout(20)
        return sock.recv(100)


@contextmanager
def changed(machine: Machine, old: str, new: str) -> Iterator[None]:
    """Edit the machine's file by hand, for a while."""
    text = machine.config.read_text()
    assert old in text
    machine.config.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        machine.config.write_text(text)


def test_reload_waits_for_the_daemon_and_tells_what_became_of_it(esa: Machine) -> None:
    absent = gatepost("reload", "console", "--config", str(esa.config))
    assert (absent.status, absent.out) == (69, "")
    assert "console: console is not running" in absent.err
    with started(esa, "console") as one:
        one.notice("READY=1")
        done = gatepost("reload", "console", "--config", str(esa.config))
        assert (done.status, done.err) == (0, ""), done
        assert done.out == "console: the configuration is in force\n"
        one.notice("RELOADING=1\nMONOTONIC_USEC=")
        one.notice("READY=1")

        with changed(esa, "[console]", "[console]\nlogin_timeout_s = 55"):
            later = gatepost("reload", "console", "--config", str(esa.config))
        assert later.status == 0, later
        assert "only after a restart: console.login_timeout_s" in later.out
        one.notice("READY=1")

        with changed(esa, "[console]", "[console]\nnonsense = 1\nrubbish = 2"):
            refused = gatepost("reload", "console", "--config", str(esa.config))
            assert (refused.status, refused.out) == (78, "")
            lines = refused.err.splitlines()
            assert len(lines) == 2, "each reason has its line"
            assert all(line.startswith(f"gatepost: console: {esa.config}: console.") for line in lines)
            one.notice("RELOADING=1")
            one.notice("READY=1")

            one.process.send_signal(signal.SIGHUP)
            one.notice("RELOADING=1")
            one.notice("READY=1")
        assert ask_socket(esa.socket("console"), "health")["state"] == "ready"
        one.process.send_signal(signal.SIGTERM)
        _, err = one.process.communicate(timeout=20)
        assert err.count("reload refused, the running configuration stays") == 2


def test_a_gateway_is_reloaded_by_its_number(esa: Machine) -> None:
    with started(esa, "gateway") as one:
        one.notice("READY=1")
        assert gatepost("reload", "gateway", "--config", str(esa.config)).status == 0
        assert gatepost("reload", "gateway", "--instance", "7", "--config", str(esa.config)).status == 69


def test_a_host_key_that_the_manager_gives_is_the_consoles(esa: Machine, tmp_path: Path) -> None:
    given, keys = tmp_path / "given", esa.dir / "keys"
    given.mkdir()
    for name in ("host_ed25519", "tunnel_ed25519"):
        (given / name).write_bytes((keys / "tunnel_ed25519").read_bytes())
    with started(esa, "console", CREDENTIALS_DIRECTORY=str(given)) as one:
        one.notice("READY=1")
        scan = ["ssh-keyscan", "-t", "ed25519", "-p", str(esa.ports["console"][0]), "127.0.0.1"]
        shown = subprocess.run(scan, capture_output=True, text=True, check=True, timeout=30).stdout
    assert (keys / "tunnel_ed25519.pub").read_text().split()[1] in shown


def test_a_suspended_port_of_the_manager_refuses_and_listens_again_when_the_daemon_has_gone(esa: Machine) -> None:
    (port,), name = esa.ports["cpq-listener"], "cpq-listener"
    control = esa.socket(name)
    with socket.create_server(("127.0.0.1", port)) as ours:
        with activated(esa, name, cpq=ours) as one:
            assert greeting(port).startswith(b"220 ")
            for _ in range(2):
                ask_socket(control, "suspend", delay_s=0)
                assert refused(f"127.0.0.1:{port}")
                ask_socket(control, "resume")
                assert greeting(port).startswith(b"220 ")
            ask_socket(control, "suspend", delay_s=0)
            one.process.send_signal(signal.SIGTERM)
            assert one.process.wait(20) == 0
        assert not refused(f"127.0.0.1:{port}"), "the manager's own copy waits for somebody to come"
        with activated(esa, name, cpq=ours):
            assert refused(f"127.0.0.1:{port}"), "what was suspended stays so over a restart"
            ask_socket(control, "resume")  # answers before the port is open, where it has not been open yet
            eventually(lambda: not refused(f"127.0.0.1:{port}"))
            assert greeting(port).startswith(b"220 ")
        # Nobody is refused while the daemon is away: who comes meanwhile is served by the next one.
        with socket.create_connection(("127.0.0.1", port), 20) as early, activated(esa, name, cpq=ours):
            early.settimeout(20)
            assert early.recv(100).startswith(b"220 ")


def test_console_and_web_take_the_managers_sockets(esa: Machine) -> None:
    with ExitStack() as open_:
        for daemon, hello in (("console", b"SSH-2.0-"), ("web", b"")):
            port = esa.ports[daemon][0]
            sock = open_.enter_context(socket.create_server(("127.0.0.1", port)))
            one = open_.enter_context(activated(esa, daemon, **{daemon: sock}))
            assert ask_socket(esa.socket(daemon), "health")["pid"] == one.process.pid
            if hello:
                assert greeting(port).startswith(hello)
        with changed(esa, f"port = {esa.ports['console'][0]}", f"port = {free_port()}"):
            done = gatepost("reload", "console", "--config", str(esa.config))
        restart = "only after a restart: console.port (first `gatepost systemd install`: systemd opens it)"
        assert (done.status, restart in done.out) == (0, True), done
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", esa.ports["web"][0]), 20) as plain,
            context.wrap_socket(plain) as web,
        ):
            web.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert web.recv(100).startswith(b"HTTP/1.1 ")


def test_the_bastion_takes_one_socket_for_each_of_its_ports(bastion: Machine) -> None:
    first, second, engineers = bastion.ports["bastion"]
    with ExitStack() as open_:
        names = {f"bastion_{first}": first, f"bastion_{second}": second, "engineers": engineers}
        given = {name: open_.enter_context(socket.create_server(("127.0.0.1", port))) for name, port in names.items()}
        open_.enter_context(started(bastion, "keyd")).notice("READY=1")
        open_.enter_context(activated(bastion, "bastion", **given))
        for port in names.values():
            assert greeting(port).startswith(b"SSH-2.0-")


def test_an_address_that_was_moved_is_listened_on_and_the_old_one_refuses(esa: Machine) -> None:
    old, new = esa.ports["console"][0], free_port()
    with (
        socket.create_server(("127.0.0.1", old)) as ours,
        changed(esa, f"port = {old}", f"port = {new}"),
        activated(esa, "console", console=ours) as one,
    ):
        assert greeting(new).startswith(b"SSH-2.0-")
        assert refused(f"127.0.0.1:{old}")
        one.process.send_signal(signal.SIGTERM)
        _, err = one.process.communicate(timeout=20)
    assert f"the socket unit's 127.0.0.1:{old} (console) is not configured here" in err
    assert f"listens on 127.0.0.1:{new} by itself; `gatepost systemd install` writes the socket units anew" in err


@pytest.mark.parametrize("daemon", ["gateway", "console", "cpq-listener", "web"])
def test_a_port_in_use_names_the_process(esa: Machine, daemon: str) -> None:
    port = esa.ports[daemon][0]
    with socket.create_server(("127.0.0.1", port)):
        done = gatepost("run", daemon, "--config", str(esa.config))
    assert done.status == 69
    lines = done.err.splitlines()
    assert len(lines) == 1, done
    assert f"127.0.0.1:{port}: Address already in use by " in lines[0]
    assert f"(process {os.getpid()}); stop it, or choose another port" in lines[0]


@needs("cc")
def test_a_journal_that_hangs_is_no_life_although_the_loop_turns(esa: Machine, tmp_path: Path) -> None:
    shim, hanging = tmp_path / "failsync.so", tmp_path / "hanging"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, SHIM, "-ldl"], check=True, timeout=60)
    more = {"LD_PRELOAD": str(shim), "HANGSYNC_WHILE": str(hanging), "WATCHDOG_USEC": "1000000"}
    with started(esa, "gateway", **more) as one:
        one.notice("READY=1")
        one.notice("WATCHDOG=1")
        with smtplib.SMTP("127.0.0.1", esa.ports["gateway"][0], timeout=60) as client:
            client.sendmail("a@example.org", ["b@example.test"], "Subject: first\r\n\r\nx\r\n")
            hanging.touch()
            client.docmd("MAIL", "FROM:<a@example.org>")
            client.docmd("RCPT", "TO:<b@example.test>")
            client.docmd("DATA")
            client.send(b"Subject: second\r\n\r\nx\r\n.\r\n")
            one.notice("STATUS=ready, but journal gateway-0: one write does not end; is the disk alive?", within_s=30)
            assert ask_socket(esa.socket("gateway"), "health")["state"] == "ready", "the loop turns all the while"
            one.notices.settimeout(2)
            with pytest.raises(TimeoutError):
                one.notices.recv(4096)
            hanging.unlink()
            one.notice("WATCHDOG=1")
            assert client.getreply()[0] == 250


def test_a_daemon_says_how_it_is_and_that_a_drain_may_take_its_grace(esa: Machine) -> None:
    with started(esa, "delivery-queue") as one:
        one.notice("STATUS=starting")
        one.notice("READY=1")
        one.notice("STATUS=ready")
        one.process.send_signal(signal.SIGTERM)
        one.notice("STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000")
        assert one.process.wait(20) == 0
