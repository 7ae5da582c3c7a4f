"""The lab in containers (compose.yaml), brought up once by a Docker engine of the test's own, without a registry.

First what the containers may and what the lab does; then management host, names and bastion are away at once and come
back one after the other; then containers are killed, stopped and restarted under load.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.compose_lab import PYTHON, ComposeLab, compose_lab, until
from tests.support.docker_engine import PROGRAMS, permitted
from tests.support.need import allowed, needs

pytestmark = [
    needs(*PROGRAMS, "mmdebstrap"),
    allowed(permitted(), "namespaces for a Docker engine"),
    pytest.mark.timeout(1500),
]

MACHINES = ("bastion", "esa1", "esa2", "sma")
SERVICES = {*MACHINES, "dns", "firewall", "mailhost", "workstation"}
ESA1_MAIL, ESA1_INSIDE, ESA2_MAIL = "172.30.4.11", "172.30.1.11", "172.30.4.12"
SMA, BASTION, OUTSIDE_NET = "172.30.1.20", "172.30.2.30", "gatepost_outside"

_RIGHTS = """
import json, os, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/1/status").read_text().splitlines())
programs = {os.path.basename(os.readlink(link)) for link in pathlib.Path("/proc").glob("[0-9]*/exe")}
try:
    pathlib.Path("/usr/written").touch()
    denied = 0
except OSError as error:
    denied = error.errno
names = ("Uid", "CapEff", "CapBnd", "NoNewPrivs")
print(json.dumps({name: status[name].split()[0] for name in names} | {"denied": denied, "programs": sorted(programs)}))
"""
_SERVE = """
import asyncio, pathlib, sys
from core.control import call
asyncio.run(call(pathlib.Path("/var/lib/gatepost/run/serve.sock"), sys.argv[1], daemons=sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[ComposeLab]:
    with compose_lab() as running:
        yield running


def _names(letter: str, count: int) -> list[str]:
    """Name messages; the demonstration has m and s for itself."""
    return [f"{letter}{number}" for number in range(count)]


def _held(lab: ComposeLab, letter: str) -> list[dict[str, Any]]:
    rows = lab.ask("sma", "quarantine", "list", "--limit", "200")["messages"]
    return [row for row in rows if row["sender"].startswith(letter)]


def _tunnel(lab: ComposeLab) -> str:
    return str(lab.ask("esa1", "techsupport", "status")["tunnel"])


def test_every_service_is_healthy(lab: ComposeLab) -> None:
    running = set(lab.compose("ps", "--services", "--status", "running").stdout.split())
    assert running == SERVICES
    until("all are healthy", lambda: all(lab.healthy(name) for name in SERVICES))


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_has_no_rights_it_does_not_need(lab: ComposeLab, service: str) -> None:
    """Seen from inside, where it counts; the firewall alone may change its own network."""
    seen = json.loads(lab.run(service, PYTHON, "-c", _RIGHTS).stdout)
    shells = {"bash", "busybox", "dash", "sh"} & set(seen.pop("programs"))
    user, rights = ("0", f"{1 << 12:016x}") if service == "firewall" else ("2500", f"{0:016x}")
    bounding = f"{1 << 12:016x}" if service == "firewall" else rights
    assert seen == {"Uid": user, "CapEff": rights, "CapBnd": bounding, "NoNewPrivs": "1", "denied": 30}
    assert shells == set()
    facts = lab.inspect(service)
    assert facts["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert not facts["HostConfig"]["PortBindings"], "it is reached from the host"


def test_the_demonstration_of_make_lab_holds_across_the_containers(lab: ComposeLab) -> None:
    done = lab.compose("run", "--rm", "demo", "--messages", "66", check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all of it holds" in done.stdout


def test_the_customer_gets_out_and_nobody_gets_in(lab: ComposeLab) -> None:
    assert lab.reaches("esa1", BASTION, 443)
    pid = str(lab.inspect("mailhost")["State"]["Pid"])
    through = ("ip", "route", "add", "172.30.1.0/24", "via", "172.30.2.254")
    lab.engine.inside("nsenter", "--target", pid, "--net", *through)
    places = [("mailhost", ESA1_INSIDE, 22), ("mailhost", SMA, 7025), ("workstation", ESA1_INSIDE, 22)]
    places += [("bastion", ESA1_INSIDE, 22), ("bastion", SMA, 22), ("mailhost", "172.30.3.30", 22)]
    with ThreadPoolExecutor() as pool:
        reached = list(pool.map(lambda place: lab.reaches(*place), places))
    assert dict(zip(places, reached, strict=True)) == dict.fromkeys(places, False)


@pytest.fixture(scope="module")
def outage(lab: ComposeLab) -> None:
    """Names do not answer, the bastion has left the network, the SMA's cable is out, a daemon of esa2 is down."""
    lab.run("esa1", "gatepost", "cli", "smtproutes", "new", "outside.test", "USEDNS")
    retries = ("--initial-retry-s", "5", "--max-retry-s", "5")
    lab.run("esa1", "gatepost", "cli", "bounceconfig", "edit", "Default", *retries)
    lab.run("esa1", "gatepost", "cli", "commit", "mail for outside.test goes by DNS, and is tried again soon")
    lab.compose("pause", "dns")
    lab.engine.docker("network", "disconnect", OUTSIDE_NET, lab.container("bastion"))
    lab.engine.cable(lab.container("sma"), SMA, "down")
    lab.run("esa2", PYTHON, "-c", _SERVE, "halt", "web")
    lab.send("esa2", ESA1_INSIDE, _names("d", 3), domain="outside.test")
    lab.send("esa2", ESA1_MAIL, _names("h", 6), subject="[hold] until the SMA is back")
    lab.send("esa2", ESA1_MAIL, _names("p", 6))


@pytest.mark.usefixtures("outage")
def test_mail_that_needs_none_of_them_is_delivered(lab: ComposeLab) -> None:
    until("mail is delivered", lambda: lab.arrived("p") == Counter(_names("p", 6)))
    assert lab.arrived("h") == lab.arrived("d") == Counter()


@pytest.mark.usefixtures("outage")
def test_mail_for_the_quarantine_waits_for_the_sma_and_is_held_once(lab: ComposeLab) -> None:
    def waiting() -> bool:
        host = lab.ask("esa1", "hoststatus", "the.cpq.host")
        return bool(host["state"] == "down" and host["gauges"]["active_recips"] == 6)

    until("the queue knows that the SMA is away", waiting)
    lab.engine.cable(lab.container("sma"), SMA, "up")
    until("mail is in quarantine", lambda: len(_held(lab, "h")) >= 6)
    assert Counter(row["sender"] for row in _held(lab, "h")) == Counter(
        f"{name}@sender.test" for name in _names("h", 6)
    )


@pytest.mark.usefixtures("outage")
def test_mail_waits_for_names_and_leaves_by_itself(lab: ComposeLab) -> None:
    def said() -> bool:
        rows = lab.ask("esa1", "showrecipients")["recipients"]
        return len(rows) == 3 and any("DNS Soft Error" in (row["last_reply"] or "") for row in rows)

    until("the queue says what it waits for", said)
    lab.compose("unpause", "dns")
    until("mail is delivered", lambda: lab.arrived("d") == Counter(_names("d", 3)), 180)


@pytest.mark.usefixtures("outage")
def test_the_tunnel_comes_back_by_itself(lab: ComposeLab) -> None:
    until("the ESA sees that its tunnel is lost", lambda: _tunnel(lab) != "open", 180)
    lab.compose("unpause", "dns", check=False)
    lab.engine.docker("network", "connect", "--ip", BASTION, OUTSIDE_NET, lab.container("bastion"))
    until("the tunnel is open", lambda: _tunnel(lab) == "open", 180)
    ssh = ("ssh", "-F", "/lab/engineer/engineer_ed25519-ssh_config", "gatepost-bastion", "version", "--json")
    # It is open when the ESA says so, and to be used when the bastion has proved it to its far end.
    until("an engineer gets through", lambda: lab.run("workstation", *ssh).returncode == 0, 180)
    assert json.loads(lab.run("workstation", *ssh).stdout)["hostname"] == "esa1.example.test"


@pytest.mark.usefixtures("outage")
def test_a_daemon_that_is_down_makes_its_container_unhealthy(lab: ComposeLab) -> None:
    def told() -> bool:
        health = lab.inspect("esa2")["State"]["Health"]
        lines = [line.split()[:2] for line in health["Log"][-1]["Output"].splitlines() if "ready" not in line]
        return bool(health["Status"] == "unhealthy" and lines == [["web", "down"]])

    until("esa2 is unhealthy, and its health check names the daemon", told, 180)
    lab.run("esa2", PYTHON, "-c", _SERVE, "resume", "web")
    until("esa2 is healthy", lambda: lab.healthy("esa2"), 180)


def test_a_gateway_that_is_killed_under_load_loses_nothing_and_comes_back(lab: ComposeLab) -> None:
    """It dies as in a crash: Docker, which did not ask for it, starts it again."""
    pid = str(lab.inspect("esa1")["State"]["Pid"])
    with lab.begin_sending("esa2", ESA1_MAIL, _names("k", 2000), "killed", "example.test") as sending:
        assert sending.stdout is not None
        first = [sending.stdout.readline().strip() for _ in range(40)]
        lab.engine.inside("kill", "-KILL", pid)
        taken = {*first, *sending.stdout.read().split()}  # not communicate(): it knows nothing of what readline kept
    assert 40 <= len(taken) < 2000, "it was not killed under load"
    until("it runs again", lambda: lab.inspect("esa1")["RestartCount"] == 1 and lab.ready("esa1"), 180)
    until("what was acknowledged is delivered", lambda: taken <= set(lab.arrived("k")), 180)


def test_a_gateway_that_is_stopped_under_load_finishes_within_its_grace(lab: ComposeLab) -> None:
    with lab.begin_sending("esa1", ESA2_MAIL, _names("f", 2000), "stopped", "example.test") as sending:
        assert sending.stdout is not None
        first = [sending.stdout.readline().strip() for _ in range(40)]
        lab.compose("stop", "esa2")
        taken = {*first, *sending.stdout.read().split()}  # not communicate(): it knows nothing of what readline kept
    assert 40 <= len(taken) < 2000, "it was not stopped under load"
    assert lab.inspect("esa2")["State"]["ExitCode"] == 0, "the engine had to kill it"
    lab.compose("start", "esa2")
    until("it is ready", lambda: lab.ready("esa2"), 180)
    until("what was acknowledged is delivered", lambda: taken <= set(lab.arrived("f")), 180)
    arrived = lab.arrived("f")
    assert {name: arrived[name] for name in arrived if arrived[name] > 1 or name not in taken} == {}


def test_a_restarted_sma_still_holds_what_it_held(lab: ComposeLab) -> None:
    lab.send("esa2", ESA1_MAIL, _names("r", 4), subject="[hold] over a restart")
    until("mail is in quarantine", lambda: len(_held(lab, "r")) == 4)
    before = _held(lab, "r")
    lab.compose("restart", "sma")
    until("it is ready", lambda: lab.ready("sma"), 180)
    assert _held(lab, "r") == before
    lab.ask("sma", "quarantine", "release", *(row["id"] for row in before))
    until("what was released is delivered", lambda: lab.arrived("r") == Counter(_names("r", 4)))
