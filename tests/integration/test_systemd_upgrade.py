"""Upgrade, downgrade and removal of the Debian package on a machine that runs, with mail coming in all the while."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.booted import UNITS, Booted, Fleet, fleet
from tests.support.lab import eventually
from tests.support.need import as_root, needs
from tests.support.nspawn import PROGRAMS
from tests.support.package import as_version, built_package

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs(*PROGRAMS, "dpkg-buildpackage"),
    as_root("systemd-nspawn"),
]
NEWER = "99.0"
TARGET = "gatepost-esa.target"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Boot an ESA that was made by hand, with a newer package at hand, and start it."""
    package = built_package()
    newer = as_version(package, NEWER, tmp_path_factory.mktemp("newer"))
    with fleet("esa") as made:
        esa = made["esa"]
        esa.make_esa(made.admin)
        esa.start_all()
        esa.wait_ready()
        shutil.copy(newer, esa.path("/root/newer.deb"))
        shutil.copy(package, esa.path("/root/first.deb"))
        newer.unlink()
        yield made


def dpkg(esa: Booted, *words: str) -> str:
    done = esa.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *words, within_s=240)
    return done.out + done.err


def is_active(esa: Booted) -> bool:
    return esa.run("systemctl", "is-active", "--quiet", TARGET, check=False).status == 0


def moment(esa: Booted, daemon: str, which: str) -> int:
    """Give a time of a unit in seconds since 1970."""
    unit = f"gatepost-{daemon}.service"
    return int(esa.run("systemctl", "show", "--timestamp=unix", "--value", f"--property={which}", unit).out.lstrip("@"))


def wait_accepted(file: Path) -> list[str]:
    """Wait until more mail was accepted than before, and give all of it."""
    before = len(file.read_text().splitlines())
    eventually(lambda: len(file.read_text().splitlines()) > before + 5, 90, "mail is accepted")
    return file.read_text().splitlines()


def test_an_upgrade_under_load_loses_nothing_and_no_daemon_meets_files_of_another_release(site: Fleet) -> None:
    esa = site["esa"]
    with site.load("upgrade") as sent:
        wait_accepted(sent)
        said = dpkg(esa, "--install", "/root/newer.deb")
        esa.wait_ready()
        all_of_it = wait_accepted(sent)
    assert "has no role" not in said
    assert esa.run("dpkg-query", "--show", "--showformat=${Version}", "gatepost").out == NEWER
    unpacked = int(esa.run("stat", "--format=%Z", "/usr/lib/gatepost/bin/gatepost").out)
    for daemon in UNITS["esa"]:
        stopped, started = moment(esa, daemon, "ActiveExitTimestamp"), moment(esa, daemon, "ExecMainStartTimestamp")
        assert stopped <= unpacked <= started, daemon
    site.wait_arrived(all_of_it, within_s=90)


def test_a_machine_that_was_stopped_stays_stopped_when_the_release_changes(site: Fleet) -> None:
    esa = site["esa"]
    esa.run("systemctl", "stop", TARGET)
    said = dpkg(esa, "--install", "/root/first.deb")
    assert "downgrading" in said
    assert not is_active(esa)
    esa.run("systemctl", "start", TARGET)
    esa.wait_ready()


def test_removal_stops_every_daemon_and_a_new_installation_goes_on(site: Fleet) -> None:
    esa = site["esa"]
    assert len(esa.run("pgrep", "gatepost").out.split()) >= len(UNITS["esa"])
    dpkg(esa, "--remove", "gatepost")
    assert esa.run("pgrep", "--list-full", "gatepost", check=False).out == ""
    dpkg(esa, "--install", "/root/first.deb")
    esa.wait_ready()
    site.send("again@example.test")
    site.wait_arrived(["again@example.test"])
