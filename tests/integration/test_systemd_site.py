"""ESA, SMA and bastion under a real systemd: a held message's way, pairing, support, sockets that systemd holds."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from core import ssh
from tests.support.booted import ADDRESSES, DNS, DOMAIN, ENGINEERS, FOLDER, POLICY, Fleet, fleet
from tests.support.lab import ran, ssh_argv
from tests.support.need import as_root, needs
from tests.support.nspawn import PROGRAMS
from tests.support.package import PROGRAMS as PACKAGING
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs(*PROGRAMS, *PACKAGING, "ssh"),
    as_root("systemd-nspawn"),
]
CASE, ENGINEER = "SR1", "ana"


@pytest.fixture(scope="module")
def site() -> Iterator[Fleet]:
    """Boot all three, make them what they are, configure the package, which starts them, and pair ESA and SMA."""
    with fleet("bastion", "esa", "sma") as made:
        made.net["bastion"].add_address(f"{ENGINEERS}/24")
        bastion = {
            "address": ADDRESSES["bastion"],
            "engineer_address": ENGINEERS,
            "names": [f"{name}.{DOMAIN}" for name in ("c.tunnels", "m.tunnels", "upgrades")],
            "recording_reserve": 0,
        }
        made["bastion"].make("bastion", made.admin, bastion=bastion)
        keys = made["bastion"].path(f"{FOLDER}/keyd")
        tunnel = {
            "domain": DOMAIN,
            "bastion_cas": [(keys / "host_ca_ed25519.pub").read_text().strip()],
            "support_keys": [f"1 {(keys / 'support_1_x25519.pub').read_text().strip()}"],
            "recording_reserve": 0,
        }
        made["esa"].make_esa(made.admin, tunnel=tunnel)
        here = {"address": ADDRESSES["sma"]}
        made["sma"].make("sma", made.admin, dns=DNS, console=here, cpq=here, tunnel=tunnel)
        made["sma"].set(POLICY)
        for role in ("bastion", "esa", "sma"):
            made[role].configure(role)
        for role in ("bastion", "esa", "sma"):
            made[role].wait_ready()
        pair(made)
        yield made


def pair(site: Fleet) -> None:
    """Pair as docs/quarantine.md says: on the SMA, with an administrator's key."""
    sma = site["sma"]
    sma.write("/root/admin", (site.dir / "admin").read_text())
    sma.run("chmod", "600", "/root/admin")
    host_key = site["esa"].run("ssh-keygen", "-lf", f"{FOLDER}/keys/host_ed25519").out.split()[1]
    words = ("pair", "--appliance", f"{ADDRESSES['esa']}:22", "--key", "/root/admin", "--fingerprint", host_key)
    assert sma.gatepost(*words).out.startswith("paired with ")


def held(site: Fleet, recipient: str) -> list[dict[str, object]]:
    """Give what the quarantine holds for a recipient."""
    rows = json.loads(site["sma"].cli("quarantine", "list", "--recipient", recipient, "--json").out)["messages"]
    return [row for row in rows if row["quarantines"][0]["state"] == "held"]


def test_each_target_has_started_everything_of_its_role(site: Fleet) -> None:
    for role, machine in site.machines.items():
        assert machine.inactive() == [], role
        assert machine.state() == "running", role
        assert machine.show(f"gatepost-{role}.target", "ActiveState", "UnitFileState") == {
            "ActiveState": "active",
            "UnitFileState": "enabled",
        }
        assert machine.gatepost("health").status == 0


def test_keyd_is_another_user_and_the_bastion_cannot_read_its_keys(site: Fleet) -> None:
    bastion = site["bastion"]
    owner = bastion.run("stat", "--format=%U %a", f"{FOLDER}/keyd").out.strip()
    assert owner == "gatepost-keyd 700"
    enter = ("nsenter", "--target", str(bastion.pid("bastion")), "--mount", "--")
    assert bastion.run(*enter, "stat", "--format=%a", f"{FOLDER}/keyd").out.strip() == "0"
    assert bastion.run("runuser", "-u", "gatepost", "--", "ls", f"{FOLDER}/keyd", check=False).status == 2


def test_mail_goes_through_and_what_is_held_is_released_from_the_management_host(site: Fleet) -> None:
    site.send("plain@example.test")
    site.send("suspect@example.test", "[hold] look at this")
    site.wait_arrived(["plain@example.test"])
    row = eventually(lambda: held(site, "suspect@example.test"), "the SMA holds it", within_s=60)[0]
    assert not site.arrived()["suspect@example.test"]
    site["sma"].cli("quarantine", "release", str(row["id"]))
    site.wait_arrived(["suspect@example.test"])
    assert site.arrived()["suspect@example.test"] == 1


def test_what_is_held_survives_a_power_cut_of_the_management_host(site: Fleet) -> None:
    sma = site["sma"]
    site.send("kept@example.test", "[hold] kept")
    row = eventually(lambda: held(site, "kept@example.test"), "the SMA holds it", within_s=60)[0]
    sma.cut_power()
    site.send("later@example.test", "[hold] while it is away")
    sma.boot()
    sma.wait_ready()
    assert held(site, "kept@example.test") == [row]
    eventually(lambda: held(site, "later@example.test"), "what came meanwhile is handed over", within_s=90)
    sma.cli("quarantine", "release", str(row["id"]))
    site.wait_arrived(["kept@example.test"])


@contextlib.contextmanager
def knocking(site: Fleet, place: str) -> Iterator[list[str]]:
    """Connect from the firewall all the time; gives what was refused or not answered, filled in at the end."""
    script = """
import signal, socket, sys, time
host, port = sys.argv[1].split(":")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    try:
        with socket.create_connection((host, int(port)), 60) as s:
            s.settimeout(60)
            assert s.recv(4), "closed"
    except (OSError, AssertionError) as error:
        print(error, flush=True)
    else:
        print("ok", flush=True)
    time.sleep(0.2)
"""
    fire, log, seen = site.net.firewall, site.dir / "knocking", list[str]()
    log.unlink(missing_ok=True)
    pid = fire.start(log, sys.executable, "-c", script, place)
    eventually(lambda: "ok" in log.read_text(), "somebody answers")
    try:
        yield seen
        ok = log.read_text().count("ok")
        eventually(lambda: log.read_text().count("ok") > ok + 1, "somebody answers again", within_s=60)
    finally:
        os.kill(pid, signal.SIGTERM)
        next(one for one in fire.children if one.pid == pid).wait(30)
        seen += [line for line in log.read_text().splitlines() if line != "ok"]


def test_a_restarted_console_refuses_nobody(site: Fleet) -> None:
    with knocking(site, f"{ADDRESSES['esa']}:22") as refused:
        before = site["esa"].pid("console")
        site["esa"].run("systemctl", "restart", "gatepost-console.service")
        assert site["esa"].pid("console") not in (0, before)
    assert refused == []


def banner(site: Fleet) -> str:
    """Say what the SMA's quarantine port answers a caller."""
    script = "import socket,sys; s = socket.create_connection((sys.argv[1], 7025), 60); print(s.recv(99).decode())"
    done = site.net.firewall.run(sys.executable, "-c", script, ADDRESSES["sma"], check=False)
    return (done.stdout + done.stderr).decode().strip().splitlines()[-1]


def test_a_suspended_quarantine_port_refuses_though_systemd_holds_its_socket(site: Fleet) -> None:
    sma = site["sma"]
    assert "220" in banner(site)
    sma.cli("suspendlistener", "All", "--seconds", "0")
    assert "refused" in banner(site)
    sma.cli("resumelistener", "All")
    assert "220" in banner(site)


def desk(site: Fleet, *words: str, stdin: str = "") -> str:
    """Run a command of the support organisation on the bastion."""
    return site["bastion"].gatepost("bastion", *words, stdin=stdin).out


def test_support_reaches_the_gateway_through_its_tunnel(site: Fleet) -> None:
    esa, bastion = site["esa"], site["bastion"]
    request = esa.gatepost("bastion", "request").out
    bastion.write("/srv/request.json", request)
    desk(site, "enroll", esa.serial, "--request", "/srv/request.json")
    for name in (ENGINEER, "ben"):
        ssh.write_key(site.dir / name, ssh.make_key())
        bastion.write(f"/srv/{name}.pub", ssh.public_text(ssh.read_key(site.dir / name)) + "\n")
        desk(site, "engineer", "add", name, "--key", f"/srv/{name}.pub", "--roles", "shell")
    desk(site, "case", "open", CASE, "--serial", esa.serial, "--engineer", ENGINEER)
    seed = json.loads(esa.cli("techsupport", "tunnel", "--json").out)["seed"]
    desk(site, "case", "seed", CASE, esa.serial, stdin=f"{seed}\n")
    desk(site, "case", "approve", CASE, "--by", "ben")
    online = lambda: json.loads(bastion.cli("tunnels", "--json").out)["tunnels"]  # noqa: E731
    eventually(lambda: [row for row in online() if row["online"]], "the tunnel is open", within_s=60)
    words = ("ca", "sign", "--key", f"/srv/{ENGINEER}.pub", "--engineer", ENGINEER, "--case", CASE, "--minutes", "60")
    desk(site, *words, "--out", f"{FOLDER}/cert.pub")
    (site.dir / "cert.pub").write_text(bastion.run("cat", f"{FOLDER}/cert.pub").out)
    host_key = ssh.public_text(ssh.read_key(bastion.path(f"{FOLDER}/keys/bastion_host_ed25519")))
    (site.dir / "known_hosts").write_text(ssh.known_hosts_line(ENGINEERS, host_key) + "\n")
    argv = ssh_argv(str(site.dir / ENGINEER), str(site.dir / "known_hosts"), "22")
    argv += ["-o", f"CertificateFile={site.dir / 'cert.pub'}", f"{esa.serial.lower()}@{ENGINEERS}", "version --json"]
    seen = ran(site.net["engineer"].words(*argv), within_s=90)
    assert seen.document["serial"] == esa.serial
    esa.run("kill", "-KILL", str(esa.pid("tunnel-client")))
    esa.wait_ready()
    eventually(
        lambda: ran(site.net["engineer"].words(*argv), within_s=90).status == 0, "the tunnel is back", within_s=90
    )
