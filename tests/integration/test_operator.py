"""Operators and support engineers at real machines, with stock OpenSSH and with the executable."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab, Ran, gatepost, ran, refused, ssh_argv
from tests.support.need import needs
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh", "ssh-keygen")]
HOST_FIELDS = {
    "host": str,
    "state": str,
    "active_recipients": int,
    "connections_out": int,
    "delivered_recipients": int,
    "soft_bounced": int,
    "hard_bounced": int,
}


@pytest.fixture(scope="module")
def lab(standing_lab: Lab) -> Lab:
    to = standing_lab.address("first")
    standing_lab.send([to], b"Subject: first\r\n\r\nx\r\n")
    standing_lab.wait_delivered(to)
    standing_lab.hold(count=2)
    standing_lab.wait_settled("esa")
    return standing_lab


def check_status(document: Any) -> None:
    assert document["state"] == "Online"
    for name in ("inj_msgs", "inj_recips", "delivered_recips", "completed_recips"):
        assert set(document["counters"][name]) == {"reset", "uptime", "lifetime"}, name
        assert document["counters"][name]["lifetime"] >= 1, name
        assert set(document["rates"][name]) == {"1m", "5m", "15m"}, name
    assert all(isinstance(value, int | float) for value in document["gauges"].values())
    assert {"conn_in", "conn_out", "active_recips"} <= set(document["gauges"])


def check_tophosts(document: Any) -> None:
    assert abs(document["as_of"] - time.time()) < 60
    rows = {row["host"]: row for row in document["hosts"]}
    assert {"the.cpq.host", "example.test"} <= set(rows)
    for row in rows.values():
        assert {name: type(row[name]) for name in HOST_FIELDS} == HOST_FIELDS
    assert rows["example.test"]["delivered_recipients"] >= 1


def check_list(document: Any) -> None:
    assert len(document["messages"]) >= 2
    assert document["next"] is None


def check_listeners(document: Any) -> None:
    assert [(one["name"], one["kind"], one["state"]) for one in document["listeners"]] == [
        ("InboundMail", "public", "listening"),
        ("OutboundMail", "private", "listening"),
    ]


def check_support(document: Any) -> None:
    assert {"mode", "tunnel", "port", "since", "until", "seed_fingerprint", "sessions"} <= set(document)
    assert document["mode"] == "tunnel"
    assert document["port"] == 2025
    assert isinstance(document["sessions"], list)


def check_version(document: Any) -> None:
    assert {"product", "version", "serial", "role", "hostname"} <= set(document)
    assert (document["product"], document["role"]) == ("Gatepost", "esa")
    assert document["hostname"] == "esa.example.test"


def check_help(document: Any) -> None:
    names = {one["name"] for one in document["commands"]}
    assert {"status", "tophosts", "showrecipients", "suspend", "resume", "techsupport status", "help"} <= names
    assert "quarantine list" not in names


def switched(names: list[str], *, delivery: bool) -> Callable[[Any], None]:
    def check(document: Any) -> None:
        assert (document["listeners"], document["delivery"], document["failed"]) == (names, delivery, {})

    return check


ALL = ["InboundMail", "OutboundMail", "cpq_listener"]
COMMANDS: list[tuple[str, str, Callable[[Any], None], str]] = [
    ("esa", "status", check_status, r"System status: +Online"),
    ("esa", "tophosts", check_tophosts, r"1 +\S+ .*\n"),
    ("esa", "showrecipients", lambda document: document["recipients"].copy(), r"No recipients are waiting"),
    ("sma", "quarantine list", check_list, r"\[hold\]"),
    ("esa", "suspendlistener All --seconds 0", switched(ALL, delivery=False), r"Receiving suspended for cpq_listener"),
    ("esa", "resumelistener All", switched(ALL, delivery=False), r"Receiving resumed for InboundMail"),
    ("esa", "suspend 0", switched(ALL, delivery=True), r"Mail delivery suspended"),
    ("esa", "resume", switched(ALL, delivery=True), r"Mail delivery resumed"),
    ("esa", "listenerconfig list", check_listeners, r"1\. InboundMail \(on 127\.1?2\d\.1\.1\) SMTP Port 2525 Public"),
    ("esa", "showconfig", lambda document: document["configuration"]["cpq"]["port"], r'name = "cpq_listener"'),
    ("esa", "techsupport status", check_support, r"Service Access currently ENABLED"),
    ("esa", "version", check_version, r"Role: +esa"),
    ("esa", "help", check_help, r"showrecipients +List recipients"),
]


@pytest.mark.parametrize(("role", "line", "check", "shown"), COMMANDS, ids=[line for _, line, _, _ in COMMANDS])
def test_every_command_over_ssh_and_on_the_machine_as_text_and_as_json(
    lab: Lab, role: str, line: str, check: Callable[[Any], None], shown: str
) -> None:
    words = line.split()
    check(lab.ssh(role, *words, "--json").document)
    check(lab.cli(role, *words, "--json").document)
    for text in (lab.ssh(role, *words), lab.cli(role, *words)):
        assert (text.status, text.err) == (0, ""), text
        assert re.search(shown, text.out), text.out
        assert not text.out.startswith("{")
        assert "\x1b" not in text.out


def test_the_verbs_of_the_quarantine_as_text(lab: Lab) -> None:
    first, second = lab.hold(count=2)
    shown = lab.ssh("sma", "quarantine", "show", first["id"]).out
    assert re.search(rf"^ID: +{first['id']}$", shown, re.MULTILINE)
    assert "hold_it" in shown
    assert lab.ssh("sma", "quarantine", "release", first["id"]).out == "1 message released.\n"
    assert lab.cli("sma", "quarantine", "delete", second["id"]).out == "1 message deleted.\n"
    lab.wait_delivered(first["recipients"][0])
    assert lab.arrivals(second["recipients"][0]) == []


MISTAKES = [
    ("sma", "quarantine show nosuchid", 66, "nosuchid"),
    ("sma", "quarantine release nosuchid", 66, "nosuchid"),
    ("sma", "quarantine delete nosuchid", 66, "nosuchid"),
    ("sma", "quarantine list --quarantine Nowhere", 66, "Nowhere"),
    ("sma", "quarantine list --limit 0", 64, "limit"),
    ("sma", "quarantine list --limit many", 64, "many"),
    ("sma", "quarantine release", 64, "quarantine release ID"),
    ("sma", "listenerconfig list", 77, "it runs on: esa"),
    ("esa", "quarantine list", 77, "it runs on: sma"),
    ("esa", "suspendlistener NoSuchListener", 66, "NoSuchListener"),
    ("esa", "hoststatus nobody.invalid", 66, "nobody.invalid"),
    ("esa", "status sideways", 64, "sideways"),
    ("esa", "frobnicate", 64, "frobnicate"),
    ("esa", "version 'open quote", 64, "quot"),
]


@pytest.mark.parametrize(("role", "line", "status", "named"), MISTAKES, ids=[line for _, line, _, _ in MISTAKES])
def test_what_is_wrong_in_a_command_is_one_line_and_a_status(
    lab: Lab, role: str, line: str, status: int, named: str
) -> None:
    results = [lab.ssh(role, f"{line} --json" if "'" not in line else line)]
    if "'" not in line:
        results.append(lab.cli(role, *line.split()))
    for done in results:
        assert (done.status, done.out) == (status, ""), done
        assert len(done.err.splitlines()) == 1, done
        assert named in done.err, done


def test_an_unknown_appliance_is_said_by_pair_and_by_the_bastion(lab: Lab) -> None:
    # Pairing with an appliance that does not answer.
    words = ["--config", str(lab.config("sma")), "--appliance", f"{lab.net}.7.7:2222", "--key", lab.facts["admin_key"]]
    paired = gatepost("pair", *words, "--fingerprint", "SHA256:x")
    assert paired.status in (69, 75)
    assert len(paired.err.splitlines()) == 1, paired
    assert f"{lab.net}.7.7:2222" in paired.err
    # An engineer who asks for an appliance that nobody has enrolled.
    facts = lab.facts
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    argv = ssh_argv(facts["engineer"]["key"], facts["engineer"]["known_hosts"], port)
    argv += ["-o", f"CertificateFile={facts['engineer']['certificate']}"]
    done = ran([*argv, f"no-such-appliance@{host}", "version"])
    assert done.status != 0
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1, done


def test_a_daemon_that_does_not_run_is_named_with_the_remedy(lab: Lab) -> None:
    with lab.without("esa/tunnel-client"):
        for done in (lab.ssh("esa", "techsupport", "status", "--json"), lab.cli("esa", "techsupport", "status")):
            assert (done.status, done.out, len(done.err.splitlines())) == (69, "", 1), done
            assert "gatepost run tunnel-client" in done.err
    eventually(lambda: lab.engineer("version").status == 0)


def test_who_ran_what_is_in_the_audit_log(lab: Lab) -> None:
    lab.ssh("esa", "listenerconfig", "list")
    file = lab.dir / "esa" / "log" / "cli_logs" / "cli.current"
    assert eventually(lambda: re.search(r"admin.* ran: listenerconfig list; status 0", file.read_text()))


def test_a_stranger_is_not_let_in(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    assert ran(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]).status == 0
    for user, identity in (("admin", str(key)), ("root", ""), ("service", "")):
        done = lab.ssh("esa", "version", user=user, key=identity)
        assert (done.status, done.out) == (255, ""), done
        assert "Permission denied" in done.err


def test_the_interactive_console_talks(lab: Lab) -> None:
    done = lab.ssh("esa", flags=["-tt"], stdin="version\rquit\r")
    assert done.status == 0, done
    assert "esa.example.test" in done.out
    assert lab.serial("esa") in done.out
    assert "(SERVICE)" not in done.out


def test_an_engineer_runs_a_command_through_the_bastion(lab: Lab) -> None:
    document = lab.engineer("version", "--json").document
    check_version(document)
    assert document["serial"] == lab.serial("esa")

    def alone() -> str:  # whoever was there before may take a moment to be gone
        text = lab.engineer("techsupport", "status").out
        return text if "1 current service login" in text else ""

    assert "ana" in eventually(alone)
    wrong = lab.engineer("frobnicate")
    assert (wrong.status, wrong.out, len(wrong.err.splitlines())) == (64, "", 1), wrong
    # Support looks, and may not release or reconfigure.
    assert lab.engineer("techsupport", "disable").status == 77


def test_the_prompt_of_an_engineer_says_service(lab: Lab) -> None:
    done = lab.engineer(flags=["-tt"], stdin="version\rquit\r")
    assert "(SERVICE)" in done.out, done
    assert lab.serial("esa") in done.out
    assert done.status == 0


def test_an_engineer_passes_straight_through_with_dash_j(lab: Lab) -> None:
    facts = lab.facts
    one = facts["engineer"]
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    serial = lab.serial("esa").lower()
    common = ssh_argv(one["key"], one["known_hosts"], port)
    proxy = [*common, "-o", f"CertificateFile={one['certificate']}", "-W", "%h:%p", f"{serial}@{host}"]
    argv = ssh_argv(one["key"], one["known_hosts"], "22")
    certificate = one["certificate"].replace("-cert.pub", f"-{serial}-cert.pub")
    argv += ["-o", f"CertificateFile={certificate}", "-o", f"HostKeyAlias={lab.serial('esa')}"]
    argv += ["-o", f"ProxyCommand={' '.join(proxy)}"]
    done = ran([*argv, f"service@{serial}", "version --json"])
    assert done.document["serial"] == lab.serial("esa")


def signed(lab: Lab, folder: Path, *more: str, serial: str = "", minutes: str = "10") -> str:
    """Sign another certificate for the lab's engineer."""
    out = folder / "other-cert.pub"
    words = ["--key", lab.facts["engineer"]["key"] + ".pub", "--engineer", "ana", "--case", "LAB-1"]
    words += ["--serials", serial or lab.serial("esa"), "--minutes", minutes, "--out", str(out)]
    done = gatepost("bastion", "ca", "sign", "--config", str(lab.config("bastion")), *words, *more)
    assert done.status == 0, done
    return str(out)


def denied(done: Ran) -> bool:
    return done.status != 0 and done.out == ""


def test_certificates_that_do_not_let_in(lab: Lab, tmp_path: Path) -> None:
    # One that is fine, so that the others fail for their own reason.
    assert lab.engineer("version", certificate=signed(lab, tmp_path)).status == 0
    expired = signed(lab, tmp_path, minutes="0.02")
    time.sleep(2.5)
    assert denied(lab.engineer("version", certificate=expired))
    other = signed(lab, tmp_path, serial=lab.serial("sma"))
    assert denied(lab.engineer("version", certificate=other))
    authority, certificate = tmp_path / "ca", Path(lab.facts["engineer"]["key"] + ".pub")
    assert ran(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority)]).status == 0
    public = tmp_path / "key.pub"
    public.write_text(certificate.read_text())
    principals = lab.serial("esa").lower()
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "ana@LAB-1", "-n", principals, "-V", "+10m", str(public)]
    assert ran(argv).status == 0
    assert denied(lab.engineer("version", certificate=str(tmp_path / "key-cert.pub")))


def test_without_forwarding_in_the_certificate_there_is_no_way_straight_through(lab: Lab, tmp_path: Path) -> None:
    certificate = signed(lab, tmp_path)
    facts = lab.facts
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    argv = ssh_argv(facts["engineer"]["key"], facts["engineer"]["known_hosts"], port)
    serial = lab.serial("esa").lower()
    done = ran([*argv, "-o", f"CertificateFile={certificate}", "-W", f"{serial}:22", f"{serial}@{host}"])
    assert denied(done)


def test_disabling_support_access_cuts_the_engineer_and_the_tunnel(lab: Lab) -> None:
    import subprocess

    facts = lab.facts
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    argv = ssh_argv(facts["engineer"]["key"], facts["engineer"]["known_hosts"], port)
    argv += ["-o", f"CertificateFile={facts['engineer']['certificate']}", "-tt"]
    inside = subprocess.Popen(
        [*argv, f"{lab.serial('esa').lower()}@{host}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        eventually(lambda: lab.ssh("esa", "techsupport", "status", "--json").document["sessions"])
        document = lab.ssh("esa", "techsupport", "disable", "--json").document
        assert document["mode"] == "disabled"
        assert inside.wait(30) != 0
    finally:
        inside.kill()
        inside.communicate()
    after = lab.ssh("esa", "techsupport", "status", "--json").document
    assert (after["mode"], after["tunnel"], after["sessions"]) == ("disabled", "disabled", [])
    assert denied(lab.engineer("version"))
    assert "currently disabled" in lab.ssh("esa", "techsupport", "status").out
    seed = lab.ssh("esa", "techsupport", "tunnel", "--port", "2025", "--json").document["seed"]
    words = ["case", "seed", "LAB-1", lab.serial("esa"), "--config", str(lab.config("bastion"))]
    assert gatepost("bastion", *words, stdin=f"{seed}\n").status == 0
    eventually(lambda: lab.engineer("version").status == 0, "the tunnel is back")


def test_no_port_of_the_appliance_is_open_on_the_bastion(lab: Lab) -> None:
    for port in (22, 2222, 22000, 25000):
        assert refused(f"{lab.net}.3.1:{port}")
    tunnels = lab.control("bastion", "bastion", "tunnels")["tunnels"]
    assert [(row["serial"], row["online"]) for row in tunnels if row["online"]] == [(lab.serial("esa").lower(), True)]
    assert json.dumps(tunnels)
