"""Remote access through a customer's firewall: real machines in network namespaces, and the truth at each step.

Each test leaves the firewall open and name server, bastion, keyd and consoles running.
"""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import middleboxes
from tests.support.lab import gatepost
from tests.support.long import either
from tests.support.namespaces import INSIDE, permitted
from tests.support.need import allowed, needs
from tests.support.remote_site import CASE, DOMAIN, SIX_PORTS, Site, site
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(either(180, 900)),
    allowed(permitted(), "network namespaces"),
    needs("ip", "nft", "ss", "knotd", "ssh", "tinyproxy", "openssl", "stunnel", "smtp-sink"),
    needs("sshd"),
]
KEEPALIVE_S = either(1.0, 15.0)
DEAD_S = 6 * KEEPALIVE_S + 30
"""Within this a dead connection is noticed on a busy machine: three keepalives may be lost."""
FAR_DEAD_S = 2 * DEAD_S
"""The same at the bastion, whose keepalives are a quarter as frequent here, so that takeovers can be seen."""
CUT_S = either(9.0, 90.0)


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site({"keepalive_s": KEEPALIVE_S, "liveness_s": 1.0}) as made:
        made.desk("case", "open", CASE, "--serial", made.esa.serial, "--engineer", "ana")
        yield made


@pytest.fixture(autouse=True)
def open_firewall(place: Site) -> Iterator[None]:
    yield
    place.net.firewall.end()
    place.net.firewall.open()


@pytest.fixture
def approved(place: Site) -> Site:
    """A site whose ESA lets support in, with an approved case."""
    place.let_in()
    return place


def verdicts(document: dict[str, Any]) -> dict[tuple[int, str], str]:
    """Give the verdicts of attempts by port and way."""
    return {(row["port"], row["way"]): row["verdict"] for row in document["attempts"]}


def row(document: dict[str, Any], port: int, way: str = "ssh") -> dict[str, Any]:
    """Give the row of one attempt."""
    return next(one for one in document["attempts"] if (one["port"], one["way"]) == (port, way))


def events(recording: Path) -> list[Any]:
    """Give the events of a recording."""
    return [json.loads(line) for line in recording.read_bytes().splitlines()[1:]]


def markers(recording: Path) -> list[str]:
    """Give the kinds of a recording's markers."""
    return [json.loads(event[2])["kind"] for event in events(recording) if event[1] == "m"]


def test_support_comes_in_by_seed_case_and_certificate_and_is_recorded(place: Site) -> None:
    assert (place.esa.status()["mode"], place.tunnels()) == ("disabled", [])
    enabled = place.esa.enable("tunnel")
    assert (enabled["tunnel"], enabled["port"], enabled["problem"]) == ("open", 25, "")
    assert verdicts(enabled) == {(25, "ssh"): "ours"}
    eventually(place.online)
    place.take_seed(place.esa, enabled["seed"])
    place.sign()
    argv = place.ssh_words(place.esa, "version --json")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as held:
        assert held.stderr is not None
        assert held.stderr.readline().startswith(
            f"case {CASE} is not approved: waiting 90 s at most until a second person"
        )
        place.desk("case", "approve", CASE, "--by", "ben")
        out, _ = held.communicate(timeout=30)
    assert (held.returncode, json.loads(out)["serial"]) == (0, place.esa.serial)
    assert gatepost("bastion", "verify", "--audit", "--config", str(place.bastion.config)).status == 0
    (seen,) = place.tunnels()
    assert (seen["serial"], seen["online"], seen["port"]) == (place.esa.serial.lower(), True, 25)
    assert (seen["source"], seen["series"]) == ("198.51.100.1", "c")
    assert (len(place.recordings()), len(place.esa.recordings())) == (1, 1)
    (proved,) = eventually(lambda: _verified(place), "the recording is whole and signed")["recordings"]
    assert (proved["signature"], proved["audit"], proved["problems"]) == ("good", "agrees", [])


def _verified(place: Site) -> Any:
    words = ("--config", str(place.bastion.config), "--json")
    done = gatepost("bastion", "verify", "--all", *words)
    return done.document if done.status == 0 else None


def test_a_port_that_is_dropped_is_named_and_the_next_one_is_taken(place: Site) -> None:
    place.esa.ask("tunnel-client", "techsupport_disable")
    place.net.firewall.open(drop=[25])
    enabled = place.esa.enable("tunnel", "--port", "25")
    status = place.esa.status()
    for document in (enabled, status):
        assert (document["tunnel"], document["port"]) == ("open", 443), document
        assert verdicts(document) == {(25, "ssh"): "time-out", (443, "ssh"): "ours"}
    eventually(lambda: place.online(port=443))


def test_smtp_inspection_is_named_with_advice_and_another_port_taken(place: Site) -> None:
    firewall = place.net.firewall
    place.esa.ask("tunnel-client", "techsupport_disable")
    firewall.open(redirect={25: middleboxes.smtp_inspection(firewall, place.dir)})
    enabled = place.esa.enable("tunnel", "--port", "25")
    assert (enabled["tunnel"], enabled["port"]) == ("open", 443)
    seen = row(enabled, 25)
    assert (seen["verdict"], seen["stage"]) == ("smtp", "banner")
    assert seen["detail"].startswith("220 ****")
    assert "choose another port" in seen["advice"]
    eventually(lambda: place.online(port=443))


def test_ports_that_are_refused_are_named_and_the_next_one_is_taken(place: Site) -> None:
    place.esa.ask("tunnel-client", "techsupport_disable")
    place.net.firewall.open(refuse=[25, 443])
    enabled = place.esa.enable("tunnel", "--port", "25")
    assert (enabled["tunnel"], enabled["port"]) == ("open", 22)
    assert verdicts(enabled) == {(25, "ssh"): "refused", (443, "ssh"): "refused", (22, "ssh"): "ours"}
    eventually(lambda: place.online(port=22))


def test_five_middleboxes_are_named_and_the_one_good_port_is_found(place: Site) -> None:
    firewall = place.net.firewall
    mirror, fingerprint, notes = middleboxes.ssh_decryption(firewall, place.dir)
    inspected = {
        25: middleboxes.smtp_inspection(firewall, place.dir),
        443: middleboxes.tls_inspection(firewall, place.dir),
        22: middleboxes.foreign_sshd(firewall, place.dir),
        80: middleboxes.http_proxy(firewall, place.dir),
        53: mirror,
    }
    firewall.open(redirect=inspected)
    probed = place.esa.probe()
    expected = {
        (25, "ssh"): "smtp",
        (443, "ssh"): "reset",  # stunnel does not answer what is not TLS
        (443, "tls"): "tls",
        (22, "ssh"): "foreign-ssh",
        (80, "ssh"): "http",
        (53, "ssh"): "host-key",
        (4766, "ssh"): "ours",
    }
    assert verdicts(probed) == expected
    assert fingerprint in row(probed, 53)["detail"]
    assert row(probed, 22)["detail"].startswith("SSH-2.0-OpenSSH")
    enabled = place.esa.enable("tunnel", "--port", "53")
    assert (enabled["tunnel"], enabled["port"]) == ("open", 4766)
    for key, verdict in verdicts(enabled).items():
        assert verdict in (expected[key], "time-out"), key  # what was slower than the good port was given up
    assert (row(enabled, 53)["verdict"], fingerprint in row(enabled, 53)["detail"]) == ("host-key", True)
    eventually(lambda: place.online(port=4766))
    assert set(notes.read_text().splitlines()) == {"connection"}  # no name, no key


def test_all_ports_closed_is_said_port_by_port_and_one_that_opens_is_found(approved: Site) -> None:
    place, firewall = approved, approved.net.firewall
    firewall.open(refuse=SIX_PORTS)
    eventually(lambda: place.esa.tunnel != "open", within_s=DEAD_S)
    eventually(lambda: not place.online(), within_s=FAR_DEAD_S)
    probed = place.esa.probe()
    closed = {(port, "ssh"): "refused" for port in SIX_PORTS}
    assert {key: found for key, found in verdicts(probed).items() if key[1] == "ssh"} == closed
    assert {found for key, found in verdicts(probed).items() if key[1] != "ssh"} <= {"refused"}
    status = eventually(lambda: _with_problem(place))
    assert "closed on the way" in status["problem"]
    assert verdicts(status) == closed
    firewall.open(refuse=[port for port in SIX_PORTS if port != 80])
    place.esa.wait("open")
    assert place.esa.status()["port"] == 80
    eventually(lambda: place.online(port=80))


def _with_problem(place: Site) -> dict[str, Any] | None:
    status = place.esa.status()
    assert status["tunnel"] in ("waiting", "connecting"), status
    return status if len(status["attempts"]) == len(SIX_PORTS) else None


def test_a_link_that_is_cut_comes_back_with_the_shell_that_was_open(approved: Site) -> None:
    place = approved
    with place.inside(place.esa) as first:
        first.wait("(SERVICE)")
        first.type("version")
        first.wait("Serial")
        place.net.firewall.cut()
        cut_at = time.monotonic()
        first.process.wait(FAR_DEAD_S + 20)
        assert first.process.returncode == 255
    eventually(lambda: place.esa.tunnel != "open", within_s=DEAD_S)
    status = place.esa.status()
    assert status["tunnel"] in ("waiting", "connecting")
    assert "lost" in status["problem"] or status["attempts"]
    assert eventually(lambda: not place.online(), within_s=FAR_DEAD_S)
    time.sleep(max(0.0, cut_at + CUT_S - time.monotonic()))
    place.net.firewall.open()
    place.esa.wait("open", either(20, 400))
    eventually(place.online)
    assert place.esa.status()["problem"] == ""
    with place.inside(place.esa, "attach") as again:
        again.wait("Serial")  # the screen as it was
        again.type("exit")
        assert again.process.wait(20) == 0
    assert "gap" in [kind for file in place.recordings()[-2:] for kind in markers(file)]


def test_connections_that_are_reset_come_back(approved: Site) -> None:
    before = approved.esa.status()["connected_at"]
    approved.net.firewall.reset()
    eventually(lambda: approved.esa.connected_at > before, within_s=DEAD_S + 10)
    status = approved.esa.status()
    assert (status["tunnel"], status["problem"]) == ("open", "")
    eventually(approved.online)
    assert approved.ssh(approved.esa, "version").status == 0


def test_a_new_address_of_the_customer_takes_the_old_tunnel_over_once(approved: Site) -> None:
    place = approved
    taken = len(place.bastion.audit("takeover"))
    old = place.tunnels()[0]["source"]
    new = "198.51.100.77" if old != "198.51.100.77" else "198.51.100.1"
    place.net.firewall.move(new)
    eventually(lambda: new in [row["source"] for row in place.bastion.ask("bastion", "tunnels")["tunnels"]])
    (seen,) = place.tunnels()
    assert (seen["serial"], seen["source"]) == (place.esa.serial.lower(), new)
    eventually(place.online)
    place.esa.wait("open")
    lines = place.bastion.audit("takeover")[taken:]
    assert [(line["source"], line["by"]) for line in lines] == [(old, new)]
    assert place.ssh(place.esa, "version").status == 0


def test_a_web_proxy_is_the_only_way_out(approved: Site) -> None:
    place, firewall = approved, approved.net.firewall
    middleboxes.http_proxy(firewall, place.dir, port=middleboxes.PROXY, resolver=place.net["name"].address)
    firewall.cut()
    with place.esa.configured(proxy=f"http://{INSIDE}:{middleboxes.PROXY}"):
        place.esa.wait("open", DEAD_S + 20)
        status = place.esa.status()
        assert status["port"] == 443
        assert verdicts(status)[443, "proxy"] == "ours"
        assert verdicts(status).get((25, "proxy"), "proxy-refused") == "proxy-refused"
        eventually(lambda: place.online(port=443))
        assert place.tunnels()[0]["source"] == firewall.outside
        assert place.ssh(place.esa, "version").status == 0


def test_a_second_appliance_without_internet_is_reached_both_ways_and_recorded(place: Site) -> None:
    esa, sma = place.esa, place.sma
    assert b"unreachable" in sma.host.run("ip", "route", "get", place.net["bastion"].address, check=False).stderr
    seeds = {esa: esa.enable("tunnel", "--hops", sma.host.address)["seed"], sma: sma.enable("sshaccess")["seed"]}
    place.desk("case", "open", CASE, "--serial", sma.serial, "--via", esa.serial, "--address", sma.host.address)
    for one, seed in seeds.items():
        place.take_seed(one, seed)
    place.desk("case", "approve", CASE, "--by", "ben")
    config = place.sign()
    eventually(place.online)
    kept = len(place.recordings()), len(sma.recordings())
    assert place.ssh(sma, "version --json").document["serial"] == sma.serial
    assert (len(place.recordings()), len(sma.recordings())) == (kept[0] + 1, kept[1] + 1)
    done = place.net["engineer"].run("ssh", "-F", config, "-o", "BatchMode=yes", sma.serial.lower(), "version --json")
    assert json.loads(done.stdout)["serial"] == sma.serial
    assert (len(place.recordings()), len(sma.recordings())) == (kept[0] + 1, kept[1] + 2)
    assert sma.status()["mode"] == "sshaccess"


def test_a_bastion_that_was_killed_comes_back_and_the_tunnel_with_it(approved: Site) -> None:
    place = approved
    place.bastion.end("bastion", signal.SIGKILL)
    eventually(lambda: place.esa.tunnel != "open", within_s=DEAD_S)
    assert place.esa.status()["problem"]
    place.bastion.run("bastion")
    place.esa.wait("open")
    eventually(place.online)
    assert place.ssh(place.esa, "version").status == 0


def test_without_keyd_the_tunnel_stays_and_new_sessions_are_refused_with_the_reason(approved: Site) -> None:
    place = approved
    place.bastion.end("keyd", signal.SIGKILL)
    refused = place.ssh(place.esa, "version")
    assert (refused.status, "keyd" in refused.err) == (69, True), refused
    assert (place.esa.status()["tunnel"], place.online()) == ("open", True)
    place.bastion.run("keyd")
    assert place.ssh(place.esa, "version").status == 0


def test_dead_name_servers_are_named_and_an_open_tunnel_stays(approved: Site) -> None:
    place = approved
    place.stop_dns()
    try:
        time.sleep(1.1)  # what was asked before may be used as long as it lives
        problem = place.esa.probe()["problem"]
        assert place.esa.status()["tunnel"] == "open"
        assert "names cannot be resolved" in problem
        assert f"asked {place.net['name'].address}:53" in problem
        (place.esa.dir / "state" / "places.json").unlink()  # as on a machine that never had a tunnel
        enabled = place.esa.enable("tunnel")
        assert enabled["tunnel"] in ("waiting", "connecting")
        assert "names cannot be resolved" in enabled["problem"]
        assert f"{place.net['name'].address}:53" in enabled["problem"]
    finally:
        place.start_dns()
    place.esa.wait("open")


def test_a_dead_ipv6_address_delays_by_the_stagger_only(place: Site) -> None:
    host = place.net["esa"]
    host.add_address("fd77:1::10/64")
    host.run("ip", "-6", "route", "add", "default", "via", "fd77:1::1")
    try:
        place.esa.set(tunnel={"connect_timeout_s": 60})
        with place.esa.configured(host=f"dual.{DOMAIN}"):
            place.esa.set(tunnel={"connect_timeout_s": 4})  # for the next start
            enabled = place.esa.enable("tunnel")
            good = row(enabled, 25)
            begun = min(one["at"] - one["took_ms"] / 1000 for one in enabled["attempts"])
            assert (enabled["tunnel"], enabled["port"]) == ("open", 25)
            assert good["address"] == place.net["bastion"].address
            assert good["at"] - begun < 30
    finally:
        host.run("ip", "-6", "route", "del", "default")


def test_who_probes_often_shuts_nobody_out(place: Site) -> None:
    place.esa.ask("tunnel-client", "techsupport_disable")
    place.net.firewall.move("198.51.100.99")  # of its own, for what is charged to it
    rows = [row(place.esa.probe(), 25) for _ in range(5)]
    assert {(one["verdict"], one["stage"]) for one in rows} == {("ours", "banner")}
    assert "198.51.100.99" not in [line["source"] for line in place.bastion.audit("refused-at-door")]
