"""The network tools as they are deployed: real daemons, the console over OpenSSH, the configuration's names."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.lab import Lab, running_lab
from tests.support.need import as_root, needs
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh", "ping", "tcpdump")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Bring a lab up whose configuration these tests may change."""
    with running_lab("127.75", "127.175") as made:
        yield made


def test_dnscheck_is_answered_and_not_delivered(lab: Lab) -> None:
    config = lab.config("esa")
    config.write_text(config.read_text() + '\n[dnscheck]\naddress = "dnscheck@example.test"\n')
    before = lab.log_size("esa")
    for pid in lab.facts["pids"]["esa/gateway"]:
        os.kill(pid, signal.SIGHUP)
    eventually(lambda: "Listeners reloaded" in lab.log("esa", before), "the gateway has read its configuration")
    sender = lab.address("asker")
    lab.send(["dnscheck@example.test"], b"Subject: x\r\n\r\nplease\r\n", sender=sender)
    answer = lab.wait_delivered(sender)
    assert answer.sender == ""
    assert b"Subject: DNS check: " in answer.content
    assert b"4. MX: " in answer.content
    assert lab.arrivals("dnscheck@example.test") == []
    eventually(lambda: "dnscheck: " in lab.log("esa", before), "the mail log says it")
    assert "Answered by a responder" in lab.log("esa", before)


def test_tools_use_the_names_and_servers_of_the_configuration(lab: Lab) -> None:
    asked = lab.ssh("esa", "nslookup example.test MX --json").document
    assert asked["server"] == lab.facts["dns"]
    pinged = lab.ssh("esa", "ping mx.example.test --count 1 --from InboundMail --json").document
    assert (pinged["received"], pinged["from"]) == (1, lab.place("esa", "smtp").rpartition(":")[0])
    host, _, port = lab.facts["mailhost"]["smtp"].rpartition(":")
    talked = lab.ssh("esa", f"telnet {host} {port} --json", stdin="QUIT\n").document
    assert talked["exchange"][0]["received"][0].startswith("220 ")
    recipient = lab.address("pinged")
    tested = lab.ssh("esa", f"diagnostic network smtpping {host} {recipient} --port {port} --json").document
    assert not tested["failed"]
    lab.wait_delivered(recipient)
    flushed = lab.ssh("esa", "diagnostic network flush --json").document["daemons"]
    assert {row["daemon"]: row["error"] for row in flushed}["delivery-queue"] is None


@as_root("listening on interfaces")
def test_a_capture_sees_the_machines_mail_and_says_so_afterwards(lab: Lab) -> None:
    port = lab.place("esa", "smtp").rpartition(":")[2]
    words = f"packetcapture start --interfaces lo --ports {port} --duration 3s --max-size 1M --json"
    found = lab.ssh("esa", words).document
    assert (found["reason"], found["filter"]) == ("the time is over", f"(port {port})")
    files = [one["name"] for one in lab.ssh("esa", "packetcapture list --json").document["files"]]
    assert found["files"] == files
    assert lab.ssh("esa", f"packetcapture delete {found['name']} --json").document["deleted"] == files
    assert lab.ssh("esa", "packetcapture start --filter '-w /tmp/x'").status == 65
