"""DANE and MTA-STS through the real daemons: zones signed by knot, unbound validates, hosts of every kind of wrong.

The network is 127.35; each domain has a mail host of its own.
"""

import asyncio
import gzip
import hashlib
import json
import socket
from collections.abc import Awaitable
from pathlib import Path

import pytest

from core.sqlite import open_database
from mail.delivery.tls import store
from tests.support.authority import Authority, ders, server_context, spki_of
from tests.support.dnssec import dnssec_programs
from tests.support.lab import gatepost
from tests.support.need import allowed
from tests.support.tls_world import TlsWorld
from tests.support.waiting import until

pytestmark = [dnssec_programs, pytest.mark.timeout(120)]


def ee(chain: bytes) -> str:
    return "3 1 1 " + hashlib.sha256(spki_of(ders(chain)[0])).hexdigest()


def ta(authority: Authority) -> str:
    return "2 0 1 " + hashlib.sha256(authority.der).hexdigest()


async def test_dane_decides_host_by_host(tmp_path: Path) -> None:
    stranger = Authority("nobody knows")
    async with TlsWorld(tmp_path, "127.35.2") as world:

        def host(
            name: str, *names: str, records: str = "", days: int = 90, ca: Authority = stranger, **how: bool
        ) -> None:
            key, chain = ca.host(*(names or (f"mx.{name}",)), days=days)
            tlsa = records.format(ee=ee(chain), ta=ta(ca))
            lines = [f"_{{port}}._tcp.mx TLSA {one}" for one in tlsa.split(", ") if one]
            world.domain(name, server_context(key, chain), lines, **how)

        host("ee.test", records="{ee}")
        host("expired.test", "other.name", records="{ee}", days=-3)
        host("wrong.test", records="3 1 1 " + "ab" * 32)
        host("rolled.test", records="3 1 1 " + "ab" * 32 + ", {ee}")
        host("ta.test", records="{ta}")
        host("tadomain.test", "tadomain.test", records="{ta}")
        host("taname.test", "mx.other.test", records="{ta}")
        host("taexpired.test", records="{ta}", days=-3)
        host("unusable.test", records="1 1 1 " + "ab" * 32 + ", 3 7 1 " + "ab" * 32)
        world.domain("unclear.test", None, ["_{port}._tcp.mx TLSA 1 1 1 " + "ab" * 32])
        world.domain("stripped.test", None, ["_{port}._tcp.mx TLSA 3 1 1 " + "ab" * 32])
        world.domain("clear.test", None)
        host("unsigned.test", records="3 1 1 " + "ab" * 32, signed=False)
        host("bogus.test", records="{ee}", bogus=True)
        host("servfail.test", records="")
        world.names.zone("_tcp.mx.servfail.test", [f"_{world.port} TLSA 3 1 1 " + "ab" * 32], bogus=True)
        key, chain = stranger.host("mx.ee.test")
        world.domain("alias.test", server_context(key, chain), [f"real._x A {world.address()}"], mx="mail")
        zone = tmp_path / "dns" / "alias.test.zone"
        zone.write_text(zone.read_text() + f"mail CNAME mx\n_{world.port}._tcp.mx TLSA {ee(chain)}\n")

        await world.start()
        await world.send(*(f"a@{name}" for name in world.hosts))
        found = {name: await world.outcome(name) for name in world.hosts}
        assert found == {
            "ee.test": "tls",
            "expired.test": "tls",
            "wrong.test": "deferred",
            "rolled.test": "tls",
            "ta.test": "tls",
            "tadomain.test": "tls",
            "taname.test": "deferred",
            "taexpired.test": "deferred",
            "unusable.test": "tls",
            "unclear.test": "deferred",
            "stripped.test": "deferred",
            "clear.test": "clear",
            "unsigned.test": "tls",
            "bogus.test": "deferred",
            "servfail.test": "deferred",
            "alias.test": "tls",
        }
        await world.logged(
            "TLS verified by DANE-EE 3 1 1",
            "TLS verified by DANE-TA 2 0 1",
            "TLS not verified: no TLSA record is usable",
            "TLS failed: DANE: the certificate does not match any TLSA record",
            "not used: DANE: the TLSA records of mx.servfail.test cannot be looked up",
        )
        assert not world.hosts["servfail.test"].seen
        status = await world.ask("hoststatus", host="wrong.test")
        assert "does not match any TLSA record" in status["last_tls_error"]
        assert (await world.ask("status"))["counters"]["tls_failures"]["uptime"] > 0


POLICY = "version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n"


async def test_mta_sts_decides_domain_by_domain(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.3") as world:
        stranger = Authority("nobody knows")

        def host(name: str, mode: str, *names: str, mx: str = "", ca: Authority = world.ca, days: int = 90) -> None:
            context = server_context(*ca.host(*(names or (f"mx.{name}",)), days=days))
            records = world.policy(name, POLICY.format(mode=mode, mx=mx or f"mx.{name}"))
            world.domain(name, context, records, signed=False)

        host("good.test", "enforce")
        host("wild.test", "enforce", mx="*.wild.test")
        host("badcert.test", "enforce", ca=stranger)
        host("expired.test", "enforce", days=-2)
        host("badname.test", "enforce", "mx.other.test")
        host("badmx.test", "enforce", mx="*.mx.badmx.test")
        host("testing.test", "testing", ca=stranger)
        host("none.test", "none", ca=stranger)
        world.domain(
            "strip.test",
            None,
            world.policy("strip.test", POLICY.format(mode="enforce", mx="mx.strip.test")),
            signed=False,
        )
        wrong = server_context(*stranger.host("mta-sts.nofetch.test"))
        records = world.policy("nofetch.test", POLICY.format(mode="enforce", mx="other"), context=wrong)
        world.domain("nofetch.test", server_context(*stranger.host("x.test")), records, signed=False)
        records = world.policy("redirect.test", "")
        world.policies["redirect.test"].status = "302 Found"
        world.policies["redirect.test"].headers["Location"] = "https://mta-sts.good.test/.well-known/mta-sts.txt"
        world.domain("redirect.test", server_context(*stranger.host("x.test")), records, signed=False)
        # DANE beats MTA-STS: the certificate fits the TLSA record and no authority.
        key, chain = stranger.host("mx.both.test")
        records = world.policy("both.test", POLICY.format(mode="enforce", mx="mx.both.test"))
        world.domain("both.test", server_context(key, chain), [*records, f"_{{port}}._tcp.mx TLSA {ee(chain)}"])

        await world.start()
        await world.send(*(f"a@{name}" for name in world.hosts))
        found = {name: await world.outcome(name) for name in world.hosts}
        assert found == {
            "good.test": "tls",
            "wild.test": "tls",
            "badcert.test": "deferred",
            "expired.test": "deferred",
            "badname.test": "deferred",
            "badmx.test": "deferred",
            "testing.test": "tls",
            "none.test": "tls",
            "strip.test": "deferred",
            "nofetch.test": "tls",
            "redirect.test": "tls",
            "both.test": "tls",
        }
        await world.logged(
            "MTA-STS: policy of good.test id 1 mode enforce max_age 86400 mx mx.good.test",
            "TLS verified by MTA-STS",
            "not used: MTA-STS: the policy of badmx.test does not name mx.badmx.test",
            "TLS not verified: MTA-STS testing: no path",
            "MTA-STS: no policy from mta-sts.redirect.test: the server answered 302",
            "Delayed",
        )
        assert "4.7.5" in next(line for line in world.log().splitlines() if "Delayed" in line)
        # Fetched once, though asked for by each connection.
        assert len(world.policies["good.test"].asked) == 1


async def test_a_level_that_verifies_wants_an_authority_and_a_name(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.4") as world:
        stranger = Authority("nobody knows")
        world.domain("host.test", server_context(*world.ca.host("mx.host.test")), signed=False)
        world.domain("name.test", server_context(*world.ca.host("name.test")), signed=False)
        world.domain("other.test", server_context(*world.ca.host("x.test")), signed=False)
        world.domain("stranger.test", server_context(*stranger.host("mx.stranger.test")), signed=False)
        world.domain("soft.test", server_context(*stranger.host("mx.soft.test")), signed=False)
        world.domain("must.test", None, signed=False)
        rows = "".join(
            f'[[destination]]\ndomain = "{name}"\ntls = "{level}"\n'
            for name, level in (
                ("soft.test", "preferred-verify"),
                ("must.test", "required"),
                ("DEFAULT", "required-verify"),
            )
        )
        await world.start(rows)
        await world.send(*(f"a@{name}" for name in world.hosts))
        found = {name: await world.outcome(name) for name in world.hosts}
        assert found == {
            "host.test": "tls",
            "name.test": "tls",
            "other.test": "deferred",
            "stranger.test": "deferred",
            "soft.test": "tls",
            "must.test": "deferred",
        }
        await world.logged("TLS not verified: no path", "TLS verified by authority")


async def test_tlsverify_says_what_delivery_would_do_and_tlsreport_what_it_did(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.5") as world:
        stranger = Authority("nobody knows")
        key, chain = stranger.host("mx.dane.test")
        world.domain("dane.test", server_context(key, chain), [f"_{{port}}._tcp.mx TLSA {ee(chain)}"])
        world.domain("wrong.test", server_context(key, chain), ["_{port}._tcp.mx TLSA 3 1 1 " + "ab" * 32])
        records = world.policy("sts.test", POLICY.format(mode="enforce", mx="mx.sts.test"))
        world.domain("sts.test", server_context(*world.ca.host("mx.sts.test")), records, signed=False)
        world.domain("clear.test", None, signed=False)
        await world.start()

        async def cli(*words: str) -> tuple[int, str, str]:
            config = str(world.machine / "gatepost.toml")
            return await asyncio.to_thread(gatepost, "cli", "--config", config, *words)

        good = json.loads((await cli("tlsverify", "dane.test", "--json"))[1])
        assert good["would_deliver"] is True
        (host,) = good["hosts"]
        assert (host["host"], host["policy"], host["verdict"]) == (
            "mx.dane.test",
            "tlsa",
            "TLS verified by DANE-EE 3 1 1",
        )
        assert host["names"] == ["mx.dane.test"]
        address, port = host["address"], host["port"]
        assert [line for line in good["lines"] if not line.startswith("  ")] == [
            "Host mx.dane.test, preference 10:",
            f"Connecting to {address} on port {port}.",
            f"Connected to {address} from interface 127.0.0.1.",
            "Checking TLS connection.",
            f"TLS connection established: protocol {host['protocol']}, cipher {host['cipher']}.",
            "Verifying peer certificate.",
            "Verifying certificate common name mx.dane.test.",
            "TLS certificate match mx.dane.test",
            "TLS certificate verified.",
            "TLS verified by DANE-EE 3 1 1.",
            f"TLS connection to {address} succeeded.",
            "TLS successfully connected to mx.dane.test.",
            "Mail would be delivered.",
            "TLS verification completed.",
        ]
        status, text, _ = await cli("tlsverify", "wrong.test")
        assert status == 0
        assert "failed: DANE: the certificate does not match any TLSA record." in text
        assert "Mail would not be delivered." in text
        _, text, _ = await cli("tlsverify", "sts.test")
        assert "MTA-STS policy: mode enforce, mx mx.sts.test" in text
        assert "TLS verified by MTA-STS." in text
        _, text, _ = await cli("tlsverify", "clear.test")
        assert "Mail would go in the clear." in text
        assert not any(one.seen for one in world.hosts.values())
        status, _, error = await cli("tlsverify", "clear.test", "mx.other.test")
        assert status == 65
        assert "mx.other.test is no host of clear.test; its hosts: mx.clear.test" in error
        status, _, error = await cli("tlsverify", "nowhere.clear.test")
        assert status == 65
        assert "DNS Hard Error looking up nowhere.clear.test" in error

        await world.send("a@dane.test", "a@wrong.test", "a@sts.test", "a@clear.test")
        for name in world.hosts:
            await world.outcome(name)

        async def all_counted() -> bool:  # the host has the mail a moment before the queue knows it
            return sum(one["successful"] + one["failed"] for one in await world.sessions()) >= len(world.hosts)

        await until(all_counted)
        counted = json.loads((await cli("tlsreport", "--write", "--json"))[1])
        by_domain = {one["domain"]: one for one in counted["sessions"]}
        figures = {name: (one["policy"], one["successful"], one["failed"]) for name, one in by_domain.items()}
        assert figures == {
            "dane.test": ("tlsa", 1, 0),
            "wrong.test": ("tlsa", 0, 1),
            "sts.test": ("sts", 1, 0),
            "clear.test": ("no-policy-found", 0, 1),
        }
        assert by_domain["clear.test"]["failures"][0]["result"] == "starttls-not-supported"
        (file,) = [one for one in counted["files"] if "sts.test" in one]
        report = json.loads(gzip.decompress(Path(file).read_bytes()))
        (policy,) = report["policies"]
        assert policy["policy"]["policy-string"][:2] == ["version: STSv1", "mode: enforce"]
        assert policy["summary"] == {"total-successful-session-count": 1, "total-failure-session-count": 0}


async def test_requiretls_goes_to_verified_hosts_that_offer_it_and_nowhere_else(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.6") as world:
        stranger = Authority("nobody knows")
        key, chain = stranger.host("mx.good.test")
        world.domain("good.test", server_context(key, chain), [f"_{{port}}._tcp.mx TLSA {ee(chain)}"])
        world.domain("authority.test", server_context(*world.ca.host("mx.authority.test")), signed=False)
        world.domain("lacks.test", server_context(*world.ca.host("mx.lacks.test")), signed=False)
        world.domain("stranger.test", server_context(*stranger.host("mx.stranger.test")), signed=False)
        world.domain("clear.test", None, signed=False)
        for name in ("good.test", "authority.test", "stranger.test"):
            world.hosts[name].offers = ["REQUIRETLS"]
        await world.start()
        await world.send(*(f"strict@{name}" for name in world.hosts), strict=True)
        await world.send(*(f"plain@{name}" for name in world.hosts))
        await until(lambda: world.log().count("5.7.30") >= 3, world.log)
        await until(lambda: all(host.seen for host in world.hosts.values()), world.log)
        await until(lambda: len(world.hosts["good.test"].seen) == 2, world.log)
        await until(lambda: len(world.hosts["authority.test"].seen) == 2, world.log)
        strict = {name: [line for line in host.mails if "REQUIRETLS" in line] for name, host in world.hosts.items()}
        assert {name for name, lines in strict.items() if lines} == {"good.test", "authority.test"}
        for name in ("lacks.test", "stranger.test", "clear.test"):
            assert [seen[0] for seen in world.hosts[name].seen] == [(f"plain@{name}",)]
        await world.logged("REQUIRETLS failed: not offered")


async def test_mail_with_requiretls_keeps_to_the_connections_that_its_destination_may_have(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.14") as world:
        world.domain("one.test", server_context(*world.ca.host("mx.one.test")), signed=False)
        host = world.hosts["one.test"]
        host.offers = ["REQUIRETLS"]
        await world.start('[[destination]]\ndomain = "one.test"\nmax_connections = 1\n')
        for _ in range(3):
            await world.send("plain@one.test")
            await world.send("strict@one.test", strict=True)
        await until(lambda: len(host.seen) == 6, world.log)
        assert len([line for line in host.mails if "REQUIRETLS" in line]) == 3
        assert host.most_open == 1


def yesterday(folder: Path) -> None:
    """Have a report to told.test due."""
    (folder / "state").mkdir(exist_ok=True)
    database = open_database(folder / "state" / "delivery-tls.db", store.SCHEMA)
    with database.transaction():
        store.count(database, {store.Key("2020-01-02", "told.test", "no-policy-found"): ("{}", 7)}, {})
    database.close()


async def test_a_report_is_delivered_and_causes_none(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.7") as world:
        records = ['_smtp._tls TXT "v=TLSRPTv1; rua=mailto:r@told.test"']
        world.domain("told.test", server_context(*world.ca.host("mx.told.test")), records, signed=False)
        await world.start("[tls_report]\nenabled = true\n", yesterday)
        host = world.hosts["told.test"]
        await until(lambda: host.seen, world.log)
        ((recipients, _, content),) = host.seen
        assert recipients == ("r@told.test",)
        assert host.mails[0].startswith("MAIL FROM:<>")
        assert b"TLS-Required: No\r\n" in content
        assert b"TLS-Report-Domain: told.test\r\n" in content
        await world.logged("TLS report for told.test sent to mailto:r@told.test")
        assert [one["day"] for one in await world.sessions()] == []
        await until(lambda: "DCID 1 close" in world.log(), world.log)
        await world.send("a@told.test")
        await until(lambda: len(host.seen) == 2, world.log)
        counted = await until(world.sessions)
        assert [(one["domain"], one["successful"]) for one in counted] == [("told.test", 1)]

        assert (await world.ask("tlsreport"))["sending"] is True
        world.configure("[tls_report]\nenabled = false\n")
        await world.reload()
        assert (await world.ask("tlsreport"))["sending"] is False


async def test_a_policy_binds_its_own_domain_and_not_others_with_the_same_host(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.35.8") as world:
        stranger = Authority("nobody knows")
        world.domain("shared.test", server_context(*stranger.host("mx.shared.test")), signed=False)
        records = world.policy("strict.test", POLICY.format(mode="enforce", mx="mx.shared.test"))
        world.domain("strict.test", None, records, signed=False, mx="mx.shared.test.")
        world.domain("sibling.test", None, signed=False, mx="mx.shared.test.")
        await world.start()
        host = world.hosts["shared.test"]
        await world.send("a@strict.test")
        assert await world.outcome("strict.test") == "deferred"
        status = await world.ask("hoststatus", host="strict.test")
        assert status["last_tls_error"]
        assert [(one["state"], one["retry_at"]) for one in status["addresses"]] == [("unknown", None)]
        # The host failed the policy of one domain a moment ago: the other's mail goes there all the same.
        await world.send("a@sibling.test")
        await until(lambda: host.seen, world.log)
        # And the connection that is open to it now is not good enough for the first.
        await world.send("b@strict.test", "b@sibling.test")
        await until(lambda: len(host.seen) == 2, world.log)

        failed = world.log().count("TLS failed")
        await world.ask("deliver_now", host="strict.test")
        await until(lambda: world.log().count("TLS failed") > failed, world.log)

        async def both_wait() -> bool:
            return len((await world.ask("showrecipients", host="strict.test"))["recipients"]) == 2

        await until(both_wait)
        assert [seen[0] for seen in host.seen] == [("a@sibling.test",), ("b@sibling.test",)]


async def test_mail_that_says_tls_required_no_goes_out_where_the_policy_of_the_domain_fails(tmp_path: Path) -> None:
    """It waited with everything else while the domain's policy failed (RFC 8689 5)."""
    strict = ('[[destination]]\ndomain = "{}"\ntls = "required"\n').format
    async with TlsWorld(tmp_path, "127.47.1") as world:
        stranger = Authority("nobody knows")
        mismatch = ["_{port}._tcp.mx TLSA 3 1 1 " + "ab" * 32]

        def sts(name: str, *, tls: bool = True) -> None:
            records = world.policy(name, POLICY.format(mode="enforce", mx=f"mx.{name}"))
            context = server_context(*stranger.host(f"mx.{name}")) if tls else None
            world.domain(name, context, records, signed=False)

        sts("badcert.test")
        sts("strip.test", tls=False)
        world.domain("dane.test", server_context(*stranger.host("mx.dane.test")), mismatch)
        world.domain("bogus.test", server_context(*stranger.host("mx.bogus.test")))
        world.names.zone("_tcp.mx.bogus.test", [f"_{world.port} TLSA 3 1 1 " + "ab" * 32], bogus=True)
        sts("ours.test", tls=False)
        free = ("badcert.test", "strip.test", "dane.test", "bogus.test")
        await world.start(strict("ours.test"))

        await world.send(*(f"plain@{name}" for name in world.hosts))
        assert {await world.outcome(name) for name in world.hosts} == {"deferred"}
        # Their hosts are held to be down now, for a minute at least: this mail does not wait for that.
        content = "TLS-Required: No\r\nSubject: x\r\n\r\nx"
        await world.send(*(f"free{number}@{name}" for number in range(2) for name in world.hosts), content=content)
        await until(lambda: all(len(world.hosts[name].seen) == 2 for name in free), world.log)
        assert {name: world.hosts[name].seen[0][1] for name in free} == {
            "badcert.test": True,
            "strip.test": False,
            "dane.test": True,
            "bogus.test": True,
        }
        await world.logged(
            "TLS-Required: No sets aside: DANE: the certificate does not match any TLSA record",
            "TLS-Required: No sets aside: DANE: the TLSA records of mx.bogus.test cannot be looked up",
            "TLS-Required: No sets aside: TLS is required and the peer does not offer STARTTLS",
        )
        # Nobody else's mail went over these connections, and what the operator demands stands.
        for name in free:
            assert sorted(seen[0][0] for seen in world.hosts[name].seen) == [f"free0@{name}", f"free1@{name}"]

            async def waiting(host: str = name) -> list[str]:
                return [one["recipient"] for one in (await world.ask("showrecipients", host=host))["recipients"]]

            await until(lambda wait=waiting, host=name: _is(wait(), [f"plain@{host}"]))  # type: ignore[misc]
            assert (await world.ask("hoststatus", host=name))["last_tls_error"]
        assert not world.hosts["ours.test"].seen
        assert len((await world.ask("showrecipients", host="ours.test"))["recipients"]) == 3
        # What went out without regard to the policy is not counted as a good session under it.
        counted = {one["domain"]: one["successful"] for one in (await world.ask("tlsreport"))["sessions"]}
        assert set(counted.values()) == {0}


async def test_a_report_reaches_a_domain_whose_policy_fails(tmp_path: Path) -> None:
    """The one that most needs it did not get its report (RFC 8460 5.3)."""
    async with TlsWorld(tmp_path, "127.47.2") as world:
        records = world.policy("told.test", POLICY.format(mode="enforce", mx="mx.told.test"))
        records.append('_smtp._tls TXT "v=TLSRPTv1; rua=mailto:r@told.test"')
        context = server_context(*Authority("nobody knows").host("mx.told.test"))
        world.domain("told.test", context, records, signed=False)
        await world.start("[tls_report]\nenabled = true\n", yesterday)
        await until(lambda: world.hosts["told.test"].seen, world.log)
        ((recipients, _, content),) = world.hosts["told.test"].seen
        assert (recipients, b"TLS-Required: No\r\n" in content) == (("r@told.test",), True)
        # Its delivery causes no report; what fails later is counted again.
        assert (await world.ask("tlsreport"))["sessions"] == []
        await world.send("a@told.test")
        await until(lambda: "Delayed" in world.log(), world.log)
        (counted,) = await until(world.sessions)
        assert (counted["policy"], counted["successful"]) == ("sts", 0)


async def _is(value: Awaitable[object], wanted: object) -> bool:
    return await value == wanted


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@allowed(_has_ipv6(), "::1 on the loopback interface")
async def test_a_host_with_an_ipv6_address_only_is_verified_by_dane(tmp_path: Path) -> None:
    async with TlsWorld(tmp_path, "127.47.3") as world:
        stranger = Authority("nobody knows")
        for name, wrong in (("six.test", False), ("wrong.test", True)):
            key, chain = stranger.host(f"mx.{name}")
            record = "3 1 1 " + "ab" * 32 if wrong else ee(chain)
            world.domain(name, server_context(key, chain), [f"_{{port}}._tcp.mx TLSA {record}"])
            zone = tmp_path / "dns" / f"{name}.zone"
            zone.write_text(zone.read_text().replace(f"mx A {world._addresses[name]}", "mx AAAA ::1"))
        world._addresses = {"six.test": "::1"}
        await world.start()
        await world.send("a@six.test", "a@wrong.test")
        assert {name: await world.outcome(name) for name in world.hosts} == {
            "six.test": "tls",
            "wrong.test": "deferred",
        }
        await world.logged(
            f"interface ::1 address ::1 port {world.port}",
            "TLS verified by DANE-EE 3 1 1",
            "TLS failed: DANE: the certificate does not match any TLSA record",
        )
        words = ("tlsverify", "six.test", f"mx.six.test:{world.port}", "--json")
        config = str(world.machine / "gatepost.toml")
        status, text, _ = await asyncio.to_thread(gatepost, "cli", "--config", config, *words)
        (found,) = json.loads(text)["hosts"]
        assert (status, found["address"], found["port"], found["would_deliver"]) == (0, "::1", world.port, True)
