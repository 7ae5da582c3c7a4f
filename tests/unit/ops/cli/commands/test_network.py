"""The network tools as an operator meets them: whole dialogues, batch forms, documents, refusals."""

import asyncio
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import Caller, Role
from ops.cli.commands import registry
from ops.cli.commands.network.lookup import lifetime
from ops.cli.commands.network.netstat import render
from ops.cli.execute import Executor
from ops.cli.session import EX_ABORTED, Session
from tests.support.appliance import Audit, Daemons, document, machine
from tests.support.dns_server import DnsServer
from tests.support.need import as_root, needs
from tests.support.operating import Operating, Screen
from tests.support.scripted_server import Peer, ScriptedServer

GUEST = Caller("gus", Role.GUEST)
ZONE = (
    "example.test. 172800 IN MX 10 mx.example.test.",
    "mx.example.test. 5400 IN A 127.0.0.1",
    "localhost.test. 60 IN A 127.0.0.1",
    "1.0.0.127.in-addr.arpa. 61 IN PTR localhost.test.",
)
CONFIGURATION = {"interface": [{"name": "Management", "address": "127.0.0.1"}], "disk_quota": {"logs": 1000}}


class Silent(Screen):
    """A screen that shows nothing unasked."""

    def interject(self, text: str) -> None:
        self.write(text)


def operating(folder: Path, dns: str = "") -> Operating:
    """Give a machine that asks this name server."""
    configuration = {**CONFIGURATION, "dns": {"servers": [dns] if dns else []}}
    return Operating(folder, configuration=lambda: configuration)


async def test_nslookup_offers_seven_types_and_shows_the_answer_with_its_lifetime(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        shown = await operating(tmp_path, dns.address).talked("nslookup", "example.test", "3")
    assert shown == (
        f"{shown.partition('> ')[0]}> nslookup\n"
        "Please enter the host or IP address to resolve. []> example.test\n"
        "Choose the query type:\n"
        "1. A      the host's IP address\n"
        "2. CNAME  the canonical name for an alias\n"
        "3. MX     the mail exchanger\n"
        "4. NS     the name server for the named zone\n"
        "5. PTR    the hostname if the query is an Internet address\n"
        '6. SOA    the domain\'s "start-of-authority" information\n'
        "7. TXT    the text information\n"
        "[1]> 3\n"
        "\n"
        "MX=10 mx.example.test. TTL=2d\n"
        f"{shown.partition('> ')[0]}> exit\n"
    )


async def test_nslookup_and_dig_in_batch(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        machine = operating(tmp_path, dns.address)
        assert (await machine.ran("nslookup mx.example.test")).output == "A=127.0.0.1 TTL=1h 30m"
        assert (await machine.ran("nslookup 127.0.0.1")).output == "PTR=localhost.test. TTL=1m 1s"
        gone = await machine.ran("nslookup nobody.test MX")
        assert (gone.status, gone.error) == (66, "nobody.test: there is no such name")
        found = document(await machine.ran("dig -t mx example.test --json"))
        assert (found["status"], found["answer"][0]["data"]) == ("NOERROR", "10 mx.example.test.")
        elsewhere = operating(tmp_path)
        found = document(await elsewhere.ran(f"dig -s {dns.address} -x 127.0.0.1 --json"))
        assert found["answer"][0]["data"] == "localhost.test."
        assert ";; ANSWER SECTION:\nexample.test  172800  IN  MX" in (await machine.ran("dig example.test mx")).output
    assert (await elsewhere.ran("dig -s mx.test a.test")).status == 65
    assert (await elsewhere.ran("dig --bogus a.test")).status == 64
    assert (await elsewhere.ran("dig -f /etc/passwd")).status == 65


@pytest.mark.parametrize(
    ("seconds", "shown"), [(172_800, "2d"), (0, "0s"), (61, "1m 1s"), (604_800, "1w"), (3_601, "1h 1s")]
)
def test_lifetimes_are_shown_in_their_largest_units(seconds: int, shown: str) -> None:
    assert lifetime(seconds) == shown


@needs("ping")
async def test_ping_starts_from_an_interface_and_ends_with_statistics(tmp_path: Path) -> None:
    machine = operating(tmp_path)
    found = document(await machine.ran("ping localhost --count 2 --interval 0.2 --from Management --json"))
    assert (found["transmitted"], found["received"], found["loss_percent"]) == (2, 2, 0.0)
    assert found["from"] == "127.0.0.1"
    assert set(found["rtt_ms"]) == {"min", "avg", "max", "stddev"}
    wrong = await machine.ran("ping 127.0.0.1 --count 1 --from 192.0.2.77")
    assert (wrong.status, "ssign requested address" in wrong.error) == (69, True)
    assert (await machine.ran("ping 127.0.0.1 --from Nowhere")).status == 66


@needs("ping")
async def test_a_ping_without_end_is_ended_with_ctrl_c_and_still_counts(tmp_path: Path) -> None:
    class Typing(Silent):
        def write(self, text: str) -> None:
            super().write(text)
            if "icmp_seq=2 " in text:
                session.interrupt()

    screen = Typing("ping", "2", "127.0.0.1", "exit")
    session = Session(operating(tmp_path).executor, Caller("ann", Role.OPERATOR), screen, idle_s=30)
    async with asyncio.timeout(30):
        await session.run()
    assert "Which interface do you want to send the pings from?\n1. Auto\n2. Management (127.0.0.1)\n" in screen.shown
    assert "PING 127.0.0.1 (127.0.0.1): 56 data bytes\n64 bytes from 127.0.0.1: icmp_seq=1 ttl=64" in screen.shown
    counted = r"\^C\n\n--- 127\.0\.0\.1 ping statistics ---\n(\d+) packets transmitted, \1 packets received, 0\.0%"
    assert re.search(counted, screen.shown)  # a third may have gone out before the second was seen
    assert EX_ABORTED not in [session._last_status]


@needs("traceroute")
async def test_traceroute_names_each_hop(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        machine = operating(tmp_path, dns.address)
        shown = await machine.talked("traceroute", "1", "mx.example.test")
        found = document(await machine.ran("traceroute mx.example.test --numbers --json"))
    assert "traceroute to mx.example.test (127.0.0.1), 64 hops max, 44 byte packets\n" in shown
    assert " 1  localhost.test (127.0.0.1)  " in shown
    assert (found["reached"], found["hops"][0]["probes"][0]["address"]) == (True, "127.0.0.1")


def test_netstat_fits_a_terminal_whatever_the_interfaces_have() -> None:
    counts = {"packets": 123_456_789, "errors": 0, "dropped": 12_345, "bytes": 9_876_543_210_123}
    traffic = {"name": "enp0s31f6"} | {
        f"{way}_{name}": value for way in ("in", "out") for name, value in counts.items()
    }
    addresses = ["192.0.2.10/24", "2001:db8:1:2:3:4:5:6/64", "fe80::1234:5678:9abc:def0/64"]
    interface = {
        "name": "enp0s31f6",
        "state": "up",
        "mtu": 1500,
        "hardware": "52:54:00:12:34:56",
        "flags": ["BROADCAST"],
    }
    rows: dict[str, list[Any]] = {"traffic": [traffic], "interfaces": [interface | {"addresses": addresses}]}
    for view, shown in rows.items():
        text = render({"view": view, "rows": shown, "cut": 0}, 80)
        assert max(map(len, text.split("\n"))) <= 80, text
    assert ",".join(addresses) in text


@needs("ss", "ip")
async def test_netstat_shows_five_views(tmp_path: Path) -> None:
    machine = operating(tmp_path)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(7)
        port = str(listening.getsockname()[1])
        queues = document(await machine.ran("netstat listen --ip 4 --json"))
        assert {"waiting": 0, "most": 7, "address": "127.0.0.1", "port": port} in queues["rows"]
        sockets = document(await machine.ran("netstat sockets --ip 4 --json"))["rows"]
        assert any(row["state"] == "LISTEN" and row["local_port"] == port for row in sockets)
        shown = await machine.talked("netstat", "4", "1", "y")
    assert f"127.0.0.1.{port}" in shown
    assert "5. Packet traffic information.\n" in shown
    lo = next(row for row in document(await machine.ran("netstat interfaces --json"))["rows"] if row["name"] == "lo")
    assert "127.0.0.1/8" in lo["addresses"]
    assert any(row["name"] == "lo" for row in document(await machine.ran("netstat traffic --json"))["rows"])
    assert (await machine.ran("netstat routes")).output.startswith("Destination")
    assert (await machine.ran("netstat nonsense")).status == 64


def test_a_view_that_is_cut_says_so() -> None:
    row = {"waiting": 0, "most": 7, "address": "::", "port": "25"}
    assert render({"view": "listen", "rows": [row], "cut": 1234}, 0).endswith("*.25\n(1,234 more rows are left out.)")


async def _mail_host(peer: Peer) -> None:
    await peer.say("220 mx.test \x1b[2Jready")
    await peer.hear("EHLO x")
    await peer.say("250-mx.test", "250 SIZE")
    await peer.hear("DATA")
    await peer.say("354 go on")
    await peer.content()
    await peer.say("250 taken")
    await peer.hear("QUIT")
    await peer.say("221 bye")


async def test_telnet_for_scripts_sends_each_line_after_the_answer_to_the_one_before(tmp_path: Path) -> None:
    lines = b"EHLO x\nDATA\nSubject: a\n\nb\n.\nQUIT\n"
    async with ScriptedServer(_mail_host) as server:
        found = document(await operating(tmp_path).ran(f"telnet 127.0.0.1 {server.port} --json", stdin=lines))
    assert found["closed_by"] == "peer"
    assert found["exchange"][0] == {"received": ["220 mx.test \\x1b[2Jready"]}
    assert found["exchange"][1:3] == [{"sent": "EHLO x"}, {"received": ["250-mx.test", "250 SIZE"]}]
    assert found["exchange"][-2:] == [{"sent": "QUIT"}, {"received": ["221 bye"]}]


async def test_telnet_says_why_it_cannot_connect(tmp_path: Path) -> None:
    found = await operating(tmp_path).ran("telnet 127.0.0.1 1")
    assert (found.status, found.error) == (69, "127.0.0.1 port 1: Connection refused")


async def test_smtpping_asks_for_a_message_and_shows_each_step_with_its_time(tmp_path: Path) -> None:
    async def host(peer: Peer) -> None:
        await peer.say("220 mx.test")
        await peer.hear("EHLO")
        await peer.say("250 mx.test")
        await peer.hear("MAIL FROM:<a@b.test>")
        await peer.say("250 ok")
        await peer.hear("RCPT TO:<c@example.test>")
        await peer.say("250 ok")
        await peer.hear("DATA")
        await peer.say("354 go on")
        assert b"Subject: Hi\r\n" in (content := await peer.content())
        assert content.endswith(b"one\r\n..two\r\n.\r\n")
        await peer.say("250 ok")
        await peer.hear("QUIT")
        await peer.say("221 bye")

    async with DnsServer(*ZONE) as dns, ScriptedServer(host) as server:
        shown = await operating(tmp_path, dns.address).talked(
            *("diagnostic", "network", "smtpping", "example.test", "y", "1", str(server.port), "1"),
            *("a@b.test", "c@example.test", "Hi", "one", ".two", ".", "", ""),
        )
    assert "Select an MX host to test.\n1. mx.example.test (preference 10)\n[1]> 1\n" in shown
    assert "Starting SMTP test of host mx.example.test.\n" in shown
    steps = [line.split(" ms  ")[1] for line in shown.splitlines() if " ms  " in line]
    assert [step.split(":")[0] for step in steps] == ["CONNECT", "EHLO", "MAIL FROM", "RCPT TO", "DATA", "QUIT"]
    assert "SMTP Test complete. Total time elapsed " in shown


async def test_an_address_cannot_smuggle_a_command_into_the_test(tmp_path: Path) -> None:
    found = await operating(tmp_path).ran("diagnostic network smtpping 127.0.0.1 'a@b.test>\r\nRCPT TO:<x@y.test'")
    assert found.status == 65


async def test_disk_usage_shows_folders_beside_their_quota(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mail.current").write_bytes(os.urandom(8192))
    machine = operating(tmp_path)
    folders = {row["folder"]: row for row in document(await machine.ran("diagnostic disk_usage --json"))["folders"]}
    assert folders["log"]["bytes"] >= 8192
    assert (folders["log"]["quota_bytes"], folders["spool/queue"]["quota_bytes"]) == (1000, None)


async def test_flushing_the_network_reaches_every_daemon_and_names_who_does_not_run(tmp_path: Path) -> None:
    machine = operating(tmp_path)
    async with Daemons(machine.appliance.run).up(delivery_queue={"dns_flush": {"flushed": 3}}):
        shown = (await machine.ran("diagnostic network flush")).output
    assert shown.startswith("Network caches have been flushed.\n")
    assert "delivery-queue: 3 names" in shown
    assert "gateway-0: " in shown
    assert "neighbours and routes: " in shown


async def test_guests_may_use_none_of_it(tmp_path: Path) -> None:
    machine = operating(tmp_path)
    for line in ("netstat", "ping a", "traceroute a", "dig a", "nslookup a", "telnet a", "diagnostic disk_usage"):
        assert (await machine.ran(line, GUEST)).status == 77
    operator = Caller("oli", Role.OPERATOR)
    for line in ("packetcapture start", "packetcapture stop", "packetcapture delete a", "packetcapture setup"):
        assert (await machine.ran(line, operator)).status == 77


async def test_the_settings_of_captures_are_asked_for_in_the_models_order(tmp_path: Path) -> None:
    shown = Silent("packetcapture", "", "exit")
    (tmp_path / "run").mkdir()
    executor = Executor(registry(), machine(tmp_path / "run"), Audit())
    await Session(executor, Caller("ann", Role.ADMINISTRATOR), shown, idle_s=30).run()
    assert (
        "Status: No capture running\n\nCurrent Configuration:\n  Max file size:      200 MB\n"
        "  Capture Limit:      None (run until stopped)\n  Capture Interfaces: any\n  Capture Filter:     (none)\n\n"
        "Choose the operation you want to perform:\n- START - Start packet capture.\n"
    ) in shown.shown


@needs("tcpdump", "setpriv", "prlimit")
@as_root("listening on interfaces")
async def test_captures_are_set_up_by_questions_and_a_wrong_filter_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    machine = operating(tmp_path)
    answers = ("1M", "2", "5m", "1", "2", "25,2525", "192.0.2.7", "")
    shown = await machine.talked("packetcapture", "setup", *answers, "setup", "5M", "3", "1", "3", "tcp prot 25", "")
    assert "Enter maximum allowable size for the capture file (K, M, G): [200M]> 1M\n" in shown
    assert (
        "When should the capture stop?\n1. Run until the size limit is reached\n2. Run for a time\n"
        "3. Run until stopped, oldest packets go first\n[3]> 2\nEnter the time (s by default; m, h, d): [300]> 5m\n"
        "Enter the interfaces to capture packets from:\n1. any\n"
    ) in shown
    assert "Select the filter:\n1. No filter\n2. Predefined filter (ports, client, server)\n3. Custom filter\n" in shown
    assert "Capture Limit:      5m 0s\n" in shown
    assert "Capture Filter:     (port 25 or port 2525) and host 192.0.2.7\n" in shown
    assert "tcpdump does not take that: can't parse filter expression: syntax error\n" in shown
    kept = document(await machine.ran("packetcapture status --json"))["setting"]
    assert (kept["max_bytes"], kept["duration_s"]) == (1_000_000, 300), "the second setup was refused whole"
