"""DANE and MTA-STS through the real daemons: zones signed by knot, unbound validates, hosts of every kind of wrong.

The network is 127.35; each domain has a mail host of its own.
"""

import hashlib
from pathlib import Path

import pytest

from tests.support.authority import Authority, ders, server_context, spki_of
from tests.support.dnssec import dnssec_programs
from tests.support.tls_world import TlsWorld, until

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
        log = await world.settled_log()
        assert "TLS verified by DANE-EE 3 1 1" in log
        assert "TLS verified by DANE-TA 2 0 1" in log
        assert "TLS not verified: no TLSA record is usable" in log
        assert "TLS failed: DANE: the certificate does not match any TLSA record" in log
        assert "not used: DANE: the TLSA records of mx.servfail.test cannot be looked up" in log
        assert not world.hosts["servfail.test"].seen
        status = await world.ask("hoststatus", host="wrong.test")
        assert "does not match any TLSA record" in status["last_tls_error"]


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
        log = await world.settled_log()
        assert "MTA-STS: policy of good.test id 1 mode enforce max_age 86400 mx mx.good.test" in log
        assert "TLS verified by MTA-STS" in log
        assert "not used: MTA-STS: the policy of badmx.test does not name mx.badmx.test" in log
        assert "TLS not verified: MTA-STS testing: no path" in log
        assert "MTA-STS: no policy from mta-sts.redirect.test: the server answered 302" in log
        assert "4.7.5" in next(line for line in log.splitlines() if line.startswith("") and "Delayed" in line)
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
        await until(lambda: "TLS not verified: no path" in world.log(), world.log())
        assert "TLS verified by authority" in world.log()
