"""Daemons under a service manager: what they tell it, what it hands them, and what it asks of them.

The manager is the test: a socket for sd_notify(3), variables, signals. `test_systemd_*.py` has the real one.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.test_daemons import Machine, make, started
from tests.support.lab import ask_socket, gatepost, short_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def esa() -> Iterator[Machine]:
    with short_folder() as folder:
        yield make("esa", folder / "esa")


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
