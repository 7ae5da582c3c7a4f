"""A mail gateway under a real systemd: installation, units, restarts, watchdog, reload, refusals, drain, power cut,
upgrade, downgrade and removal of its package, with mail coming in.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.booted import FOLDER, UNITS, Booted, Fleet, fleet
from tests.support.need import as_root, needs
from tests.support.nspawn import PROGRAMS
from tests.support.package import PROGRAMS as PACKAGING
from tests.support.package import as_version, built_package
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs(*PROGRAMS, *PACKAGING), as_root("systemd-nspawn")]


TARGET = "gatepost-esa.target"
NEWER = "99.0"


@pytest.fixture(scope="module")
def installed() -> Iterator[Fleet]:
    """Boot a Debian machine and install the package with the role esa, and nothing else."""
    with fleet("esa") as made:
        made["esa"].configure("esa")
        yield made


@pytest.fixture(scope="module")
def site(installed: Fleet) -> Fleet:
    """Give the machine a configuration with which it takes mail."""
    esa = installed["esa"]
    esa.set_esa()
    esa.gatepost("systemd", "install")
    esa.run("systemctl", "restart", TARGET)
    esa.wait_ready()
    return installed


@pytest.fixture
def esa(site: Fleet) -> Iterator[Booted]:
    """Give the ESA; a test must leave it as it found it: all of it runs."""
    yield site["esa"]
    site["esa"].wait_ready()


def accepted(file: Path, more_than: int = 20) -> list[str]:
    """Wait until more mail was accepted, and give all of it."""
    before = len(file.read_text().splitlines())
    eventually(lambda: len(file.read_text().splitlines()) > before + more_than, "mail is accepted", within_s=60)
    return file.read_text().splitlines()


def test_the_first_installation_with_a_role_makes_a_machine_and_starts_it(installed: Fleet) -> None:
    esa = installed["esa"]
    assert esa.show(TARGET, "ActiveState", "UnitFileState") == {"ActiveState": "active", "UnitFileState": "enabled"}
    esa.wait_ready()
    assert esa.cli("version", "--json").document["serial"] == esa.serial


def test_every_unit_is_active_and_sound(esa: Booted) -> None:
    assert esa.inactive() == []
    assert esa.state() == "running"
    units = esa.run("sh", "-c", "ls /etc/systemd/system /lib/systemd/system | grep ^gatepost-").out.split()
    names = [name.replace("@.", "@1.") for name in units if name.endswith((".service", ".socket", ".target"))]
    assert len(names) >= len(UNITS["esa"])
    esa.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *sorted(set(names)))
    table = json.loads(esa.run("systemd-analyze", "security", "--json=short", "--no-pager").out)
    exposure = {row["unit"]: float(row["exposure"]) for row in table if row["unit"].startswith("gatepost-")}
    assert set(exposure) >= {f"gatepost-{name}.service" for name in UNITS["esa"]}
    assert {unit: score for unit, score in exposure.items() if score > 2.0} == {}


def test_no_daemon_is_root_and_none_can_write_what_it_only_reads(esa: Booted) -> None:
    for daemon in UNITS["esa"]:
        pid = esa.pid(daemon)
        status = dict(line.split(":\t", 1) for line in esa.path(f"/proc/{pid}/status").read_text().splitlines())
        assert esa.run("id", "-nu", status["Uid"].split()[0]).out.strip() == "gatepost"
        assert status["NoNewPrivs"] == "1"
    for daemon in ("gateway@0", "delivery-queue", "cpq-listener", "tunnel-client", "web"):
        enter = ("nsenter", "--target", str(esa.pid(daemon)), "--mount", "--")
        refused = esa.run(*enter, "touch", f"{FOLDER}/gatepost.toml", check=False)
        assert "Read-only file system" in refused.err, daemon


def test_a_link_among_the_keys_hands_a_daemon_no_file_of_root(esa: Booted) -> None:
    key = f"{FOLDER}/keys/host_ed25519"
    esa.run("sh", "-c", f"mv {key} {key}.aside && ln -s /etc/shadow {key}")
    try:
        esa.run("systemctl", "restart", "gatepost-console")
        enter = ("nsenter", "--target", str(esa.pid("console")), "--mount", "--")
        given = esa.run(*enter, "cat", "/run/credentials/gatepost-console.service/host_ed25519").out
    finally:
        esa.run("mv", f"{key}.aside", key)
    assert given == esa.run("cat", key).out


def restarted(esa: Booted) -> list[int]:
    """Count how often systemd has started each daemon again."""
    units = [f"gatepost-{daemon}.service" for daemon in UNITS["esa"]]
    return [int(n) for n in esa.run("systemctl", "show", "--value", "--property=NRestarts", *units).out.split()]


def test_killed_daemons_come_back_and_no_mail_is_lost(site: Fleet, esa: Booted) -> None:
    with site.load("killed") as sent:
        accepted(sent)
        before = {daemon: esa.pid(daemon) for daemon in UNITS["esa"]}
        restarts = restarted(esa)
        esa.run("kill", "-KILL", *map(str, before.values()))
        eventually(
            lambda: restarted(esa) == [count + 1 for count in restarts], "systemd starts each again", within_s=60
        )
        esa.wait_ready()
        assert all(esa.pid(daemon) not in (0, pid) for daemon, pid in before.items())
        all_of_it = accepted(sent)
    site.wait_arrived(all_of_it)


def test_the_watchdog_ends_a_daemon_that_stands_still(esa: Booted) -> None:
    unit = "gatepost-gateway@0.service"
    assert esa.show(unit, "WatchdogUSec") == {"WatchdogUSec": "1min"}
    quicker = f"/run/systemd/system/{unit}.d/watchdog.conf"
    esa.run("mkdir", "-p", os.path.dirname(quicker))
    esa.write(quicker, "[Service]\nWatchdogSec=5\n")
    esa.run("systemctl", "daemon-reload")
    esa.run("systemctl", "restart", unit)
    stopped = esa.pid("gateway@0")
    esa.run("kill", "-STOP", str(stopped))
    eventually(lambda: esa.pid("gateway@0") not in (0, stopped), "another process does the work", within_s=60)
    esa.run("rm", quicker)
    esa.run("systemctl", "daemon-reload")
    esa.run("systemctl", "restart", unit)
    eventually(lambda: any("Watchdog timeout" in line for line in esa.journal(unit)), "the journal says why")


def greeting(site: Fleet) -> str:
    """Give the first line that the ESA says to the outside."""
    script = f"import socket; s = socket.create_connection(('{site.net.firewall.outside}', 25), 20); print(s.recv(999))"
    return site.net["engineer"].run("python3", "-c", script).stdout.decode()


def test_a_reload_takes_a_configuration_or_says_why_not(site: Fleet, esa: Booted) -> None:
    unit, file = "gatepost-gateway@0.service", f"{FOLDER}/gatepost.toml"
    before, pid, last = esa.run("cat", file).out, esa.pid("gateway@0"), "max_recipients_per_hour = 0\n"
    assert last in before
    esa.write(file, before.replace(last, f'{last}banner_text = "Reloaded"\n'))
    esa.run("systemctl", "reload", unit)
    assert "Reloaded" in greeting(site)
    esa.write(file, before.replace(last, f"{last}banner_text = 7\n"))
    refused = esa.run("systemctl", "reload", unit, check=False)
    assert refused.status != 0
    eventually(lambda: any("banner_text" in line and file in line for line in esa.journal(unit)))
    assert esa.show(unit, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    assert "Reloaded" in greeting(site)
    esa.write(file, before)
    esa.run("systemctl", "reload", unit)
    assert "Reloaded" not in greeting(site)
    assert esa.pid("gateway@0") == pid


@pytest.mark.parametrize("fault", ["wrong", "missing"])
def test_what_cannot_run_ends_once_with_one_line(esa: Booted, fault: str) -> None:
    unit, file = "gatepost-tunnel-client.service", f"{FOLDER}/gatepost.toml"
    esa.run("systemctl", "stop", unit)
    esa.run("mv", file, f"{file}.away")
    try:
        if fault == "wrong":
            esa.write(file, "[appliance]\n")
            esa.run("chown", "gatepost:gatepost", file)
        started = esa.run("systemctl", "start", unit, check=False)
        assert started.status != 0
        facts = esa.show(unit, "ActiveState", "ExecMainStatus", "Result")
        assert facts == {"ActiveState": "failed", "ExecMainStatus": "78", "Result": "exit-code"}
        time.sleep(2.5)  # RestartSec= has passed: it is not tried again
        assert esa.show(unit, "ActiveState", "NRestarts") == {"ActiveState": "failed", "NRestarts": "0"}
        lines = eventually(lambda: esa.said(unit), "the journal has what it said")
        assert len(lines) == 1, lines
        assert ("gatepost init --role" if fault == "missing" else "appliance.role") in lines[0]
    finally:
        esa.run("mv", f"{file}.away", file)
        esa.run("systemctl", "start", unit)


def gateways(esa: Booted, number: int) -> None:
    esa.run("sed", "-i", f"s/^#\\?gateways = .*/gateways = {number}/", "/var/lib/gatepost/gatepost.toml")
    esa.gatepost("systemd", "install")


def test_two_gateways_share_the_port_and_one_may_go(site: Fleet, esa: Booted) -> None:
    gateways(esa, 2)
    esa.run("systemctl", "start", "gatepost-esa.target", "gatepost-gateway@1.service")
    listening = esa.run("ss", "-Hltn", "sport", "=", ":25").out.splitlines()
    assert len(listening) == 2, listening
    with site.load("shared") as sent:
        accepted(sent)
        esa.run("systemctl", "stop", "gatepost-gateway@0.service")
        accepted(sent)
        esa.run("systemctl", "start", "gatepost-gateway@0.service")
        esa.run("systemctl", "stop", "gatepost-gateway@1.service")
        all_of_it = accepted(sent)
    assert "connection refused" not in (site.dir / "shared.log").read_text().lower()
    site.wait_arrived(all_of_it)
    gateways(esa, 1)


def test_after_a_power_cut_every_accepted_message_is_there_and_the_configuration(site: Fleet, esa: Booted) -> None:
    esa.cli("smtproutes", "new", "parked.example.test", "10.77.1.99")
    esa.cli("commit", "before the power cut")
    with site.load("cut") as sent:
        accepted(sent, more_than=100)
        esa.cut_power()
        esa.boot()
        esa.wait_ready()
        all_of_it = accepted(sent)
    site.wait_arrived(all_of_it)
    assert "parked.example.test" in esa.cli("smtproutes", "list").out
    assert esa.state() == "running"


def moment(esa: Booted, daemon: str, which: str) -> int:
    """Give a time of a unit in seconds since 1970."""
    unit = f"gatepost-{daemon}.service"
    return int(esa.run("systemctl", "show", "--timestamp=unix", "--value", f"--property={which}", unit).out.lstrip("@"))


def test_an_upgrade_under_load_loses_nothing_and_no_daemon_meets_files_of_another_release(
    site: Fleet, esa: Booted
) -> None:
    site.send("later-kept@example.test")  # the mail host says 450: it waits in the queue
    shutil.copy(as_version(built_package(), NEWER, site.dir), esa.path("/srv/newer.deb"))
    with site.load("upgraded") as sent:
        accepted(sent)
        said = esa.dpkg("--install", "/srv/newer.deb")
        esa.wait_ready()
        all_of_it = accepted(sent)
    assert "has no role" not in said
    assert esa.run("dpkg-query", "--show", "--showformat=${Version}", "gatepost").out == NEWER
    unpacked = int(esa.run("stat", "--format=%Z", "/usr/lib/gatepost/bin/gatepost").out)
    for daemon in UNITS["esa"]:
        stopped, started = moment(esa, daemon, "ActiveExitTimestamp"), moment(esa, daemon, "ExecMainStartTimestamp")
        assert stopped <= unpacked <= started, daemon
    site.wait_arrived(all_of_it)
    copies = site.arrived()
    assert {one: copies[one] for one in all_of_it if copies[one] != 1} == {}
    waiting = json.loads(esa.cli("showrecipients", "--host", "example.test", "--json").out)["recipients"]
    assert [row["recipient"] for row in waiting] == ["later-kept@example.test"]


def test_a_stop_drains_a_downgrade_leaves_it_stopped_and_what_was_accepted_is_delivered_once(
    site: Fleet, esa: Booted
) -> None:
    shutil.copy(built_package(), esa.path("/srv/first.deb"))
    with site.load("drained") as sent:
        accepted(sent)
        esa.run("systemctl", "stop", TARGET)
        eventually(lambda: len(esa.inactive()) == len(UNITS["esa"]), "all daemons have ended", within_s=60)
        all_of_it = sent.read_text().splitlines()
    results = {daemon: esa.show(f"gatepost-{daemon}.service", "Result")["Result"] for daemon in UNITS["esa"]}
    assert set(results.values()) == {"success"}, results
    assert "downgrading" in esa.dpkg("--install", "/srv/first.deb")
    assert esa.show(TARGET, "ActiveState") == {"ActiveState": "inactive"}
    assert len(esa.inactive()) == len(UNITS["esa"])
    esa.run("systemctl", "start", TARGET)
    esa.wait_ready()
    site.wait_arrived(all_of_it)
    copies = site.arrived()
    assert {one: copies[one] for one in all_of_it if copies[one] != 1} == {}


def test_removal_stops_every_daemon_and_a_new_installation_goes_on(site: Fleet, esa: Booted) -> None:
    assert len(esa.run("pgrep", "gatepost").out.split()) >= len(UNITS["esa"])
    esa.dpkg("--remove", "gatepost")
    assert esa.run("pgrep", "--list-full", "gatepost", check=False).out == ""
    esa.dpkg("--install", "/srv/first.deb")
    esa.wait_ready()
    site.send("again@example.test")
    site.wait_arrived(["again@example.test"])
