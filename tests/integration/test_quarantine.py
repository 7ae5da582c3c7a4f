"""The central quarantine on real machines: hold, find, release, delete, and all ways in which a side is away."""

import itertools
import json
import os
import re
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.pki import make_cpq_certificate
from tests.support.lab import Lab, alive, ran, refused, running_lab
from tests.support.need import needs
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh")]
HOLD, RELEASE = "the.cpq.host", "the.cpq.release.host"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running_lab("127.23", "127.123") as lab:
        yield lab


def waiting(lab: Lab, role: str, host: str) -> int:
    return int(lab.host(role, host)["active_recipients"])


def release(lab: Lab, *ids: str) -> None:
    assert lab.control("sma", "release-host", "quarantine_release", ids=list(ids)) == {"released": list(ids)}


def forget_the_gateway(lab: Lab) -> None:
    """The release host remembers for a minute where a gateway is, and the queue keeps a connection for some seconds."""
    with lab.without("sma/release-host", "sma/delivery-queue"):
        pass


def check_row(row: dict[str, Any], lab: Lab) -> None:
    """The shape that design.md section 11 promises."""
    for name in ("id", "appliance", "mid", "sender", "subject"):
        assert isinstance(row[name], str), name
    assert row["id"]
    assert row["mid"].isdigit()
    assert row["appliance"] == lab.serial("esa")
    assert isinstance(row["size"], int)
    assert all(isinstance(one, str) for one in row["recipients"])
    assert isinstance(row["received_at"], float)
    assert abs(time.time() - row["received_at"]) < 300
    for one in row["quarantines"]:
        assert all(isinstance(one[name], str) for name in ("name", "reason", "state"))
        assert isinstance(one["expires_at"], float)
        assert one["expires_at"] > time.time()


def test_held_mail_is_listed_shown_released_and_delivered_byte_for_byte(lab: Lab) -> None:
    to, other = lab.address("road"), lab.address("road")
    content = b"Subject: [hold] \xc3\xbc\r\nX-Odd:a\r\n\tb\r\n\r\n.\r\n..dots\r\n\xff\xfe 8 bit\r\n\r\n"
    lab.send([to, other], content)
    row = lab.wait_held(to)

    listed = lab.ssh("sma", "quarantine", "list", "--recipient", to, "--json").document
    assert set(listed) == {"messages", "next"}
    assert listed["next"] is None
    assert [one["id"] for one in listed["messages"]] == [row["id"]]
    one = listed["messages"][0]
    check_row(one, lab)
    assert (one["sender"], sorted(one["recipients"]), one["size"]) == (
        "outside@sender.test",
        sorted([to, other]),
        len(content),
    )
    assert [(q["name"], q["state"]) for q in one["quarantines"]] == [("Policy", "held")]
    assert "hold_it" in one["quarantines"][0]["reason"]

    shown = lab.ssh("sma", "quarantine", "show", row["id"], "--json").document
    assert {name: shown[name] for name in one if name not in ("held_at",)} == {
        name: one[name] for name in one if name not in ("held_at",)
    }
    headers = {item["name"]: item["value"] for item in shown["headers"]}
    assert headers["Subject"] == "[hold] ü"
    assert headers["X-Odd"] == "a b"
    assert "hold_it" in [decision["rule"] for decision in shown["decisions"]]
    for decision in shown["decisions"]:
        assert set(decision) >= {"stage", "rule", "input", "verdict", "microseconds"}

    assert lab.arrivals(to) == []
    assert lab.ssh("sma", "quarantine", "release", row["id"], "--json").document == {"released": [row["id"]]}
    arrival = lab.wait_delivered(to)
    assert arrival.sender == "outside@sender.test"
    assert sorted(arrival.recipients) == sorted([to, other])
    assert arrival.content.endswith(content)
    assert arrival.content.removesuffix(content).startswith(b"Received: ")
    assert lab.held(recipient=to) == []
    # Releasing again is no error and sends nothing again.
    assert lab.ssh("sma", "quarantine", "release", row["id"], "--json").document == {"released": [row["id"]]}
    time.sleep(1.5)
    assert (len(lab.arrivals(to)), len(lab.arrivals(other))) == (1, 1)


def test_masquerading_and_texts_survive_the_quarantine(lab: Lab) -> None:
    """What the gateway decided before it held a message is done when it leaves, once."""

    def committed(*lines: tuple[str, ...]) -> None:
        for words in (*lines, ("commit",)):
            done = lab.cli("esa", *words)
            assert done.status == 0, done

    listener = ("listenerconfig", "edit", "InboundMail")
    try:
        committed(
            ("textconfig", "new", "legal", "--kind", "disclaimer", "--text", "Legal $MID."),
            (*listener, "setup", "--footer", "legal"),
            (*listener, "masquerade", "new", "joe@in.example", "joe@out.example"),
        )
        to = lab.address("rewritten")
        content = b"From: Joe <joe@in.example>\r\nSubject: [hold] x\r\n\r\nbody\r\n"
        lab.send([to], content)
        row = lab.wait_held(to)
        release(lab, row["id"])
        arrival = lab.wait_delivered(to)
        wanted = content.replace(b"@in.example", b"@out.example") + f"Legal {row['mid']}.\r\n".encode()
        assert arrival.content.endswith(wanted)
        assert arrival.content.count(b"Legal") == 1
    finally:
        committed(
            (*listener, "masquerade", "clear"), (*listener, "setup", "--reset", "footer"), ("textconfig", "clear")
        )


def test_deleted_mail_is_never_delivered(lab: Lab) -> None:
    gone, back = lab.hold(count=2)
    deleted = lab.ssh("sma", "quarantine", "delete", gone["id"], "--json").document
    assert deleted == {"deleted": [gone["id"]]}
    too_late = lab.ssh("sma", "quarantine", "release", gone["id"], "--json")
    assert (too_late.status, too_late.out, len(too_late.err.splitlines())) == (65, "", 1), too_late
    release(lab, back["id"])
    lab.wait_delivered(back["recipients"][0])
    assert lab.arrivals(gone["recipients"][0]) == []
    assert lab.held(recipient=gone["recipients"][0]) == []


def test_one_unknown_id_among_many_changes_nothing(lab: Lab) -> None:
    (row,) = lab.hold()
    done = lab.ssh("sma", "quarantine", "release", row["id"], "nosuchid", "--json")
    assert (done.status, done.out, len(done.err.splitlines())) == (66, "", 1), done
    assert "nosuchid" in done.err
    assert [one["quarantines"][0]["state"] for one in lab.held(recipient=row["recipients"][0])] == ["held"]
    assert lab.arrivals(row["recipients"][0]) == []


def test_search_and_paging_find_each_message_once(lab: Lab) -> None:
    mark = lab.address("search").partition("@")[0]
    for n in range(5):
        tag = "[virus]" if n == 4 else "[hold]"
        content = f"Subject: {tag} {mark} number {n}\r\n\r\nx\r\n".encode()
        lab.send([f"{mark}-{n}@example.test"], content, sender=f"{mark}-s{n % 2}@sender.test")
        lab.wait_held(f"{mark}-{n}@example.test")

    def found(*words: str) -> list[str]:
        document = lab.ssh("sma", "quarantine", "list", *words, "--json").document
        assert document["next"] is None
        return sorted(row["recipients"][0].partition("@")[0].removeprefix(f"{mark}-") for row in document["messages"])

    assert found("--subject", mark) == ["0", "1", "2", "3", "4"]
    assert found("--subject", f"'{mark} number 2'") == ["2"]
    assert found("--subject", mark, "--quarantine", "Virus") == ["4"]
    assert found("--subject", mark, "--quarantine", "Policy") == ["0", "1", "2", "3"]
    assert found("--sender", f"{mark}-s1") == ["1", "3"]
    assert found("--recipient", f"{mark}-3@example.test") == ["3"]
    assert found("--sender", f"{mark}-s0", "--quarantine", "Virus", "--recipient", f"{mark}-4") == ["4"]
    assert found("--subject", f"'{mark} no such'") == []

    pages, after = [], []
    for _ in range(4):
        document = lab.ssh("sma", "quarantine", "list", "--subject", mark, "--limit", "2", *after, "--json").document
        pages.append([row["id"] for row in document["messages"]])
        if document["next"] is None:
            break
        assert isinstance(document["next"], str)
        after = ["--after", document["next"]]
    assert [len(page) for page in pages] == [2, 2, 1]
    whole = [row["id"] for row in lab.held(subject=mark)]
    assert [id for page in pages for id in page] == whole
    times = [row["held_at"] for row in lab.held(subject=mark)]
    # Newest first; what was committed together within a moment may stand either way round.
    assert all(later <= earlier + 0.05 for earlier, later in itertools.pairwise(times))


def test_a_quarantine_that_does_not_exist_is_said(lab: Lab) -> None:
    done = lab.ssh("sma", "quarantine", "list", "--quarantine", "Nowhere", "--json")
    assert (done.status, done.out, len(done.err.splitlines())) == (66, "", 1), done
    assert "Nowhere" in done.err
    assert "Policy" in done.err


def test_the_words_that_operators_grep_for_are_in_the_logs(lab: Lab) -> None:
    esa, sma = lab.log_size("esa"), lab.log_size("sma")
    (row,) = lab.hold()
    release(lab, row["id"])
    lab.wait_delivered(row["recipients"][0])

    def lines(role: str, after: int, words: str) -> list[str]:
        return [line for line in lab.log(role, after).splitlines() if words in line]

    # Connections are kept, so the opening lines may be older than this message.
    for role, after in (("esa", esa), ("sma", sma)):
        assert eventually(lambda role=role: lines(role, 0, "CPQ ICID"))
        assert eventually(lambda role=role: lines(role, 0, "port 7025"))
        assert eventually(lambda role=role, after=after: lines(role, after, "centralized policy quarantine")), role
    eventually(lambda: any(f"MID {row['mid']} " in line for line in lines("esa", esa, "centralized")))
    for line in (lab.log("esa", esa) + lab.log("sma", sma)).splitlines():
        assert re.match(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} (Info|Warning|Critical|Debug): ", line), line


def test_while_the_management_host_is_away_its_mail_waits_and_other_mail_goes(lab: Lab) -> None:
    lab.kill("sma")
    try:
        held = [lab.address("away") for _ in range(3)]
        plain = lab.address("plain")
        lab.send_all([([to], f"Subject: [hold] {to}\r\n\r\nx\r\n".encode()) for to in held])
        lab.send([plain], b"Subject: plain\r\n\r\nx\r\n")
        lab.wait_delivered(plain)
        eventually(lambda: waiting(lab, "esa", HOLD) == 3)
        top = {row["host"]: row for row in lab.ssh("esa", "tophosts", "--json").document["hosts"]}
        assert top[HOLD]["active_recipients"] == 3
        rows = lab.ssh("esa", "showrecipients", "--host", HOLD, "--json").document["recipients"]
        assert sorted(row["recipient"] for row in rows) == sorted(held)
        assert {row["destination"] for row in rows} == {HOLD}
        assert all(row["sender"] == "outside@sender.test" and row["mid"].isdigit() for row in rows)
        eventually(lambda: "refused" in str(lab.ssh("esa", "showrecipients", "--host", HOLD, "--json").out).lower())
        assert [lab.arrivals(to) for to in held] == [[], [], []]
    finally:
        lab.start("sma")
    for to in held:
        lab.wait_held(to)
    assert eventually(lambda: waiting(lab, "esa", HOLD) == 0)
    assert [lab.arrivals(to) for to in held] == [[], [], []]
    assert [len(lab.held(recipient=to)) for to in held] == [1, 1, 1]


def test_while_the_gateway_is_away_released_mail_waits_and_goes_when_it_is_back(lab: Lab) -> None:
    rows = lab.hold(count=3)
    lab.kill("esa")
    try:
        release(lab, *[row["id"] for row in rows])
        eventually(lambda: waiting(lab, "sma", RELEASE) == 3)
        top = {row["host"]: row for row in lab.ssh("sma", "tophosts", "--json").document["hosts"]}
        assert top[RELEASE]["active_recipients"] == 3
        time.sleep(1)
    finally:
        lab.start("esa")
    for row in rows:
        assert lab.wait_delivered(row["recipients"][0]).content.endswith(row["content"])
    eventually(lambda: waiting(lab, "sma", RELEASE) == 0)
    assert [len(lab.arrivals(row["recipients"][0])) for row in rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("role", "command", "state", "delivery"),
    [
        ("esa", "suspendlistener All --seconds 0", "Receiving suspended", False),
        ("esa", "suspend 0", "Offline", True),
        ("sma", "suspendlistener --seconds 0", "Receiving suspended", False),
        ("sma", "suspend 0", "Offline", True),
    ],
)
def test_suspending_closes_the_quarantine_port_until_resume(
    lab: Lab, role: str, command: str, state: str, *, delivery: bool
) -> None:
    cpq = lab.place(role, "cpq")
    assert not refused(cpq)
    daemons = [f"{role}/cpq-listener", *([f"{role}/gateway"] if role == "esa" else [])]
    if delivery:
        daemons.append(f"{role}/delivery-queue")
    try:
        document = lab.ssh(role, *command.split(), "--json").document
        assert "cpq_listener" in document["listeners"]
        assert document["delivery"] is delivery
        assert refused(cpq)
        if role == "esa":
            assert refused(lab.place("esa", "smtp"))
        assert lab.ssh(role, "status", "--json").document["state"] == state
        with lab.without(*daemons):
            pass
        assert refused(cpq)
        assert lab.ssh(role, "status", "--json").document["state"] == state
    finally:
        lab.ssh(role, "resume", "--json")
    assert not refused(cpq)
    if role == "esa":
        assert not refused(lab.place("esa", "smtp"))
    assert lab.ssh(role, "status", "--json").document["state"] == "Online"
    with lab.without(f"{role}/cpq-listener"):
        pass
    assert not refused(cpq)


def test_one_named_listener_leaves_the_hidden_one_open(lab: Lab) -> None:
    try:
        document = lab.ssh("esa", "suspendlistener", "InboundMail", "--seconds", "0", "--json").document
        assert document["listeners"] == ["InboundMail"]
        assert refused(lab.place("esa", "smtp"))
        assert not refused(lab.place("esa", "cpq"))
        assert not refused(lab.place("esa", "outbound"))
        assert lab.ssh("esa", "status", "--json").document["state"] == "Online"
    finally:
        lab.ssh("esa", "resumelistener", "InboundMail")
    assert not refused(lab.place("esa", "smtp"))


def test_released_mail_waits_while_the_gateways_hidden_listener_is_suspended(lab: Lab) -> None:
    (row,) = lab.hold()
    forget_the_gateway(lab)
    lab.ssh("esa", "suspendlistener", "All", "--seconds", "0")
    try:
        release(lab, row["id"])
        eventually(lambda: waiting(lab, "sma", RELEASE) == 1)
        eventually(lambda: "suspended" in lab.ssh("sma", "showrecipients", "--json").out)
        assert lab.arrivals(row["recipients"][0]) == []
    finally:
        lab.ssh("esa", "resumelistener", "All")
    lab.wait_delivered(row["recipients"][0])


@pytest.mark.parametrize("role", ["esa", "sma"])
def test_the_hidden_listener_is_in_showconfig_and_not_in_listenerconfig(lab: Lab, role: str) -> None:
    shown = lab.ssh(role, "showconfig", "--json").document
    names = [one["name"] for one in shown["configuration"]["listener"]]
    assert "cpq_listener" in names
    assert "cpq_listener" in lab.ssh(role, "showconfig").out
    if role == "esa":
        listed = lab.ssh(role, "listenerconfig", "list", "--json").document
        assert [one["name"] for one in listed["listeners"]] == ["InboundMail", "OutboundMail"]
        assert "cpq_listener" not in lab.ssh(role, "listenerconfig", "list").out


class Telnet:
    """A plain connection to a line-based server."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.stream = self.socket.makefile("rwb")

    def reply(self) -> list[str]:
        lines = []
        while True:
            line = self.stream.readline().decode().rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return lines

    def say(self, line: str) -> list[str]:
        self.stream.write(line.encode() + b"\r\n")
        self.stream.flush()
        return self.reply()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


@pytest.mark.parametrize("role", ["esa", "sma"])
def test_telnet_sees_220_and_little_else_before_tls(lab: Lab, role: str) -> None:
    line = Telnet(lab.place(role, "cpq"))
    try:
        assert line.reply()[0].startswith("220 ")
        offered = line.say("EHLO stranger.test")
        assert all(one.startswith("250") for one in offered)
        keywords = {one[4:].split()[0] for one in offered[1:]}
        assert "STARTTLS" in keywords
        assert not {word for word in keywords if word.startswith("XCPQ")}
        assert line.say("NOOP")[0].startswith("250")
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA", "BDAT 0 LAST", "XCPQSTAT", "VRFY x"):
            assert line.say(command)[0][0] == "5", command
        assert line.say("NOOP")[0].startswith("250")
        assert line.say("QUIT")[0].startswith("221")
        assert line.stream.read() == b""
    finally:
        line.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["no certificate", "a stranger's", "one that names a paired serial"])
@pytest.mark.parametrize("role", ["esa", "sma"])
def test_a_peer_without_the_pinned_certificate_is_refused_in_the_handshake_and_logged(
    lab: Lab, tmp_path: Path, role: str, kind: str, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if kind != "no certificate":
        other = lab.serial("sma" if role == "esa" else "esa")
        key, certificate = make_cpq_certificate(other if "serial" in kind else "STRANGER-1")
        (tmp_path / "both.pem").write_bytes(key + certificate)
        context.load_cert_chain(tmp_path / "both.pem")
    log_from = lab.log_size(role)
    line = Telnet(lab.place(role, "cpq"))
    try:
        line.reply()
        line.say("EHLO stranger.test")
        assert line.say("STARTTLS")[0].startswith("220")
        # TLS 1.3 tells the client of the refusal only with the first octets that it reads.
        try:
            with context.wrap_socket(line.socket) as secured:
                secured.sendall(b"EHLO stranger.test\r\n")
                answer = secured.recv(1000)
        except (ssl.SSLError, ConnectionError):
            answer = b""
        assert answer == b""
    finally:
        line.close()
    eventually(
        lambda: re.search(
            r"Warning: CPQ ICID \d+ TLS failed: .*centralized policy quarantine on port 7025", lab.log(role, log_from)
        ),
    )


@pytest.mark.parametrize(("here", "there"), [("esa", "sma"), ("sma", "esa")])
def test_a_pairing_removed_on_the_other_side_is_named_and_mail_waits(lab: Lab, here: str, there: str) -> None:
    # Both directions: held mail to the management host, released mail to the gateway.
    rows = lab.hold(count=2) if here == "sma" else []
    if rows:  # the release host knows where the gateway is: asking again would need the pairing, too
        forget_the_gateway(lab)
        release(lab, rows[1]["id"])
        lab.wait_delivered(rows[1]["recipients"][0])
    file = lab.dir / there / "pairing" / f"{lab.serial(here)}.json"
    aside = file.with_suffix(".aside")
    log_from = lab.log_size(here)
    file.rename(aside)
    try:
        with lab.without(f"{here}/delivery-queue"):  # so that no connection is kept from before
            pass
        to = rows[0]["recipients"][0] if rows else lab.address("unpaired")
        if here == "esa":
            lab.send([to], f"Subject: [hold] {to}\r\n\r\nx\r\n".encode())
        else:
            release(lab, rows[0]["id"])
        eventually(lambda: "the peer refused our certificate" in lab.log(here, log_from))
        assert waiting(lab, here, HOLD if here == "esa" else RELEASE) == 1
        eventually(lambda: "the peer refused our certificate" in lab.ssh(here, "showrecipients", "--json").out)
    finally:
        aside.rename(file)
    if here == "esa":
        lab.wait_held(to)
    else:
        lab.wait_delivered(to)


def errors(lab: Lab, log_from: int) -> list[str]:
    return [line for line in lab.log("sma", log_from).splitlines() if "Application error" in line]


def check_errors(lab: Lab, log_from: int, why: str) -> None:
    """Wait for the error; there is one for each try, however much mail waits: the next is two seconds later."""
    eventually(lambda: errors(lab, log_from))
    time.sleep(0.5)
    lines = errors(lab, log_from)
    assert all(lab.serial("esa") in line and why in line.lower() for line in lines), lines
    seconds = [line.partition(" Warning: ")[0] for line in lines]
    assert len(set(seconds)) == len(seconds), lines


def test_a_gateway_whose_console_is_stopped_is_one_application_error_and_its_mail_waits(lab: Lab) -> None:
    rows = lab.hold(count=4)
    forget_the_gateway(lab)
    log_from = lab.log_size("sma")
    with lab.without("esa/console"):
        release(lab, *[row["id"] for row in rows])
        eventually(lambda: waiting(lab, "sma", RELEASE) == 4)
        check_errors(lab, log_from, "refused")
        assert waiting(lab, "sma", RELEASE) == 4
    for row in rows:
        lab.wait_delivered(row["recipients"][0])
    assert [len(lab.arrivals(row["recipients"][0])) for row in rows] == [1] * 4


def test_a_gateway_with_another_host_key_is_one_application_error_and_its_mail_waits(lab: Lab) -> None:
    (row,) = lab.hold()
    key = lab.dir / "esa" / "keys" / "host_ed25519"
    aside = key.with_suffix(".aside")
    forget_the_gateway(lab)
    log_from = lab.log_size("sma")
    with lab.without("esa/console"):
        key.rename(aside)
        assert ran(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]).status == 0
    try:
        release(lab, row["id"])
        eventually(lambda: waiting(lab, "sma", RELEASE) == 1)
        check_errors(lab, log_from, "host key")
        assert waiting(lab, "sma", RELEASE) == 1
        assert lab.arrivals(row["recipients"][0]) == []
    finally:
        with lab.without("esa/console"):
            aside.rename(key)
    lab.wait_delivered(row["recipients"][0])


def kill(lab: Lab, name: str) -> None:
    """Kill a daemon and start it again."""
    lab.signal(name, signal.SIGKILL)
    lab.start(name)


def test_killed_in_the_middle_of_fifty_everything_is_held_once_and_delivered_once(lab: Lab) -> None:
    letters = {}
    for _ in range(50):
        to = lab.address("fifty")
        letters[to] = f"Subject: [hold] fifty {to}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * 400

    def send() -> None:
        for to, content in letters.items():
            lab.send([to], content)
            time.sleep(0.05)

    sender = threading.Thread(target=send)
    sender.start()
    for name in ("sma/cpq-listener", "esa/delivery-queue", "sma/cpq-listener"):
        time.sleep(0.3)
        kill(lab, name)
    sender.join(120)
    assert not sender.is_alive()
    eventually(lambda: len(lab.held(subject="fifty")) >= 50, within_s=90)
    time.sleep(1)
    rows = lab.held(subject="fifty")
    assert sorted(row["recipients"][0] for row in rows) == sorted(letters)
    eventually(lambda: waiting(lab, "esa", HOLD) == 0)
    assert len(lab.held(subject="fifty")) == 50

    order = [row["id"] for row in rows]
    release(lab, *order[:15])
    kill(lab, "sma/release-host")
    release(lab, *order[:30])
    time.sleep(0.1)
    kill(lab, "esa/cpq-listener")
    release(lab, *order)
    kill(lab, "sma/delivery-queue")
    eventually(lambda: set(letters) <= set(lab.counted()), "all fifty are delivered", within_s=60)
    time.sleep(2)
    counted = lab.counted()
    # Killed were only daemons behind which delivery is exactly once; the last hop's own was left alone.
    assert {to: counted[to] for to in letters} == dict.fromkeys(letters, 1)
    for to, content in letters.items():
        assert lab.arrivals(to)[0].content.endswith(content)
    assert lab.held(subject="fifty") == []
    eventually(lambda: waiting(lab, "sma", RELEASE) == 0)


def test_a_gateways_queue_killed_while_released_mail_goes_out_loses_none(lab: Lab) -> None:
    rows = lab.hold(count=20)
    release(lab, *[row["id"] for row in rows])
    for _ in range(2):
        time.sleep(0.1)
        kill(lab, "esa/delivery-queue")
    wanted = {row["recipients"][0] for row in rows}
    eventually(lambda: wanted <= set(lab.counted()), within_s=90)
    # At the last hop a kill may double what was in flight, never lose it: at most one transaction for each kill and
    # connection.
    doubled = [to for to in wanted if lab.counted()[to] > 1]
    assert all(lab.counted()[to] <= 3 for to in doubled)
    assert not [pid for pid in lab.facts["pids"]["esa/delivery-queue"] if not alive(pid)]


def test_the_store_has_every_message_with_its_content_file(lab: Lab) -> None:
    """What is held has a content file and nothing else has."""
    rows = lab.held()
    folder = lab.dir / "sma" / "spool" / "quarantine" / "content"

    def files() -> int:
        return sum(len(names) for _, _, names in os.walk(folder))

    assert rows
    eventually(lambda: files() == len(lab.held()), lambda: f"{files()} files, {len(rows)} rows")
    assert json.dumps(rows)
