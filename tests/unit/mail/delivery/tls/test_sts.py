"""`mail.delivery.tls.sts`: which policy is in force, from a real policy host over a real resolver."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import dns.rcode
import pytest

from core.dns import Resolver
from core.https import HttpsClient, HttpsSettings
from core.sqlite import DatabaseThread
from mail.delivery.tls import store, sts
from mail.delivery.tls.sts import NOTHING, StsPolicies
from tests.support.authority import Authority, server_context
from tests.support.dns_server import DnsServer
from tests.support.https_server import HttpsServer
from tests.support.queue_machine import FakeLog
from tests.support.service import running
from tests.support.waiting import until

CA = Authority("root")


def policy(mx: str, mode: str = "enforce", max_age: int = 1000) -> bytes:
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n".encode()


class World:
    """A domain with a policy host, and a clock."""

    def __init__(self, folder: Path, dns: DnsServer, server: HttpsServer) -> None:
        self.at = 1000.0
        self.dns = dns
        self.server = server
        self.log = FakeLog()
        self.folder = folder
        self.databases: list[DatabaseThread] = []
        self.looks = 0

    def policies(self, timeout_s: float = 5) -> StsPolicies:
        """Give the policies as after a start."""
        resolver = Resolver([self.dns.address], timeout_s=1, cache_size=0, monotonic=lambda: 0.0)
        self.databases.append(DatabaseThread(self.folder / "tls.db", store.SCHEMA))
        https = HttpsClient(resolver, HttpsSettings(self.server.port, str(self.folder / "ca.pem"), timeout_s))
        return StsPolicies(_Uncached(resolver), https, self.databases[-1], log=self.log, now=self._now)

    def _now(self) -> float:
        self.looks += 1
        return self.at

    def announce(self, number: str) -> None:
        """Give the policy another id."""
        self.dns._records.pop(next((key for key in self.dns._records if "_mta-sts" in str(key[0])), None), None)  # type: ignore[arg-type]
        self.dns.add(f'_mta-sts.x.test. 300 IN TXT "v=STSv1; id={number}"')


class _Uncached(Resolver):
    """Asks anew each time."""

    def __init__(self, resolver: Resolver) -> None:
        self.__dict__.update(resolver.__dict__)

    def _keep(self, *_: object) -> None:
        pass


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    context = server_context(*CA.host("mta-sts.x.test"))
    async with DnsServer("mta-sts.x.test. 300 IN A 127.0.0.1") as dns, HttpsServer(context) as server:
        server.body = policy("mx1.x.test")
        one = World(tmp_path, dns, server)
        one.announce("1")
        yield one
        for database in one.databases:
            database.close()


async def test_a_policy_is_fetched_once_and_survives_a_restart(world: World) -> None:
    first = world.policies()
    for _ in range(3):
        found = (await first.policy("x.test")).policy
        assert found is not None
        assert found.mx == ("mx1.x.test",)
    again = world.policies()
    assert (await again.policy("x.test")).policy is not None
    assert len(world.server.asked) == 1
    assert world.server.asked[0][0] == "GET /.well-known/mta-sts.txt HTTP/1.1"


async def test_another_id_brings_the_new_policy_and_a_failed_fetch_leaves_the_old(world: World) -> None:
    policies = world.policies()
    await policies.policy("x.test")
    world.server.body = policy("mx2.x.test")
    world.announce("2")
    found = (await policies.policy("x.test")).policy
    assert found is not None
    assert found.mx == ("mx2.x.test",)
    world.server.status = "500 No"
    world.announce("3")
    found = (await policies.policy("x.test")).policy
    assert found is not None
    assert found.mx == ("mx2.x.test",)
    assert world.log.having("answered 500; the earlier one stays in force")


@pytest.mark.parametrize("how", ["gone", "dead"])
async def test_a_policy_stays_in_force_without_dns_until_it_ends(world: World, how: str) -> None:
    policies = world.policies()
    await policies.policy("x.test")
    if how == "gone":
        world.dns._records.clear()
    else:
        world.dns.rules[("_mta-sts.x.test", "TXT")] = "silent"
    world.at += 999
    assert (await policies.policy("x.test")).policy is not None
    world.at += 2
    assert (await policies.policy("x.test")).policy is None


async def test_a_policy_stays_in_force_while_its_host_is_dead_until_it_ends(world: World) -> None:
    policies = world.policies()
    await policies.policy("x.test")
    world.server._server.close()
    world.announce("2")
    for _ in range(3):
        world.at += 310
        assert (await policies.policy("x.test")).policy is not None
    assert len(world.log.having("; the earlier one stays in force")) == 3
    world.at += 71
    found = await policies.policy("x.test")
    assert (found.policy, found.result) == (None, "sts-policy-fetch-error")


async def test_a_policy_host_that_is_dead_at_the_first_contact_means_no_policy(world: World) -> None:
    """RFC 8461 5.1: mail goes out as if there were none; the failure is there to be reported."""
    policies = world.policies()
    world.server._server.close()
    found = await policies.policy("x.test")
    assert (found.policy, found.result) == (None, "sts-policy-fetch-error")
    assert not world.log.having("stays in force")
    async with HttpsServer(
        server_context(*CA.host("mta-sts.x.test")), body=policy("mx1.x.test"), port=policies._https._settings.port
    ):
        assert (await policies.policy("x.test")).policy is None, "it is not asked again at once"
        world.at += 301
        assert (await policies.policy("x.test")).policy is not None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for what is to be refreshed all the time; what is due is still up to the clock of the world."""
    monkeypatch.setattr(sts, "_LOOK_S", 0.01)


async def _looked(world: World, policies: StsPolicies) -> None:
    """Wait until the background task has looked twice."""
    for _ in range(2):
        before = world.looks
        await until(lambda before=before: world.looks != before)  # type: ignore[misc]


@pytest.mark.parametrize(("max_age", "due_after"), [(1000, 500), (604_800, 86_400)])
async def test_a_policy_is_fetched_anew_in_the_background_before_it_ends(
    world: World, impatient: None, max_age: int, due_after: int
) -> None:
    """At half its life, but at least once a day: nobody's mail waits for it, and it never ends while it is used."""
    world.server.body = policy("mx1.x.test", max_age=max_age)
    policies = world.policies()
    async with running(policies):
        await policies.policy("x.test")
        world.at += due_after
        await _looked(world, policies)
        assert len(world.server.asked) == 1
        world.server.body = policy("mx2.x.test", max_age=max_age)
        world.at += 1
        await until(lambda: len(world.server.asked) > 1 and policies._known["x.test"].fetched_at == world.at)
    world.dns.rules[("_mta-sts.x.test", "TXT")] = dns.rcode.SERVFAIL
    world.at += max_age - 1
    found = (await policies.policy("x.test")).policy
    assert found is not None, "the same id, fetched anew, lives on from then"
    assert found.mx == ("mx2.x.test",)


async def test_a_refresh_that_fails_is_tried_again_and_the_policy_lives_to_its_end(
    world: World, impatient: None
) -> None:
    policies = world.policies()
    async with running(policies):
        await policies.policy("x.test")
        world.server.status = "503 No"
        world.at += 501
        await until(lambda: world.log.having("answered 503; the earlier one stays in force"))
        await _looked(world, policies)
        assert len(world.server.asked) == 2, "not again within five minutes"
        assert (await policies.policy("x.test")).policy is not None
        world.at += 301
        await until(lambda: len(world.server.asked) != 2)
        world.at += 200
        await until(lambda: "x.test" not in policies._known)
    assert (await world.policies().policy("x.test")).policy is None, "it is gone from the disk too"


def _add_domain(world: World, domain: str, address: str) -> None:
    world.dns.add(f'_mta-sts.{domain}. 300 IN TXT "v=STSv1; id=1"')
    world.dns.add(f"mta-sts.{domain}. 300 IN A {address}")


async def test_one_silent_policy_host_does_not_keep_the_policies_of_others_from_being_refreshed(
    world: World, impatient: None
) -> None:
    """They were asked one after the other, and each that was silent took the whole time-out."""
    _add_domain(world, "a.test", "127.0.0.2")
    context = server_context(*CA.host("mta-sts.a.test"))
    async with HttpsServer(context, body=policy("mx.y.test"), address="127.0.0.2", port=world.server.port) as silent:
        policies = world.policies(timeout_s=90)
        await policies.policy("a.test")
        await policies.policy("x.test")
        silent.silent = True
        world.at += 501
        async with asyncio.timeout(60), running(policies):  # that it stops, too
            await until(lambda: policies._known["x.test"].fetched_at == world.at and len(silent.asked) > 1)


async def test_policies_that_end_sooner_are_refreshed_sooner(
    world: World, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts, "_AT_ONCE", 1)
    _add_domain(world, "y.test", "127.0.0.2")
    context = server_context(*CA.host("mta-sts.y.test"))
    async with HttpsServer(context, body=policy("mx.y.test"), address="127.0.0.2", port=world.server.port) as other:
        world.server.body = policy("mx.y.test", max_age=1100)
        policies = world.policies()
        await policies.policy("x.test")
        await policies.policy("y.test")
        other.status = "503 No"
        world.at += 551
        async with running(policies):
            await until(lambda: policies._known["x.test"].fetched_at == world.at)
            assert len(other.asked) == 2, "y.test ends first"


async def test_mode_none_withdraws_a_policy(world: World) -> None:
    policies = world.policies()
    assert (await policies.policy("x.test")).policy is not None
    world.server.body = policy("mx", "none").replace(b"mx: mx\r\n", b"")
    world.announce("2")
    assert await policies.policy("x.test") == NOTHING
    assert await world.policies().policy("x.test") == NOTHING, "after a restart too"


async def test_mode_none_is_no_policy(world: World) -> None:
    world.server.body = policy("mx", "none").replace(b"mx: mx\r\n", b"")
    found = await world.policies().policy("x.test")
    assert (found.policy, found.problem) == (None, "")


Break = Callable[[HttpsServer], None]


def _type(server: HttpsServer) -> None:
    server.headers = {"Content-Type": "text/html"}


def _bad(server: HttpsServer) -> None:
    server.body = b"<html>"


def _large(server: HttpsServer) -> None:
    server.body = policy("mx") + b"x: " + b"y" * 70_000


@pytest.mark.parametrize(
    ("breaks", "result"),
    [(_type, "sts-policy-fetch-error"), (_bad, "sts-policy-invalid"), (_large, "sts-policy-fetch-error")],
)
async def test_a_policy_that_cannot_be_had_is_none_for_a_while(world: World, breaks: Break, result: str) -> None:
    breaks(world.server)
    policies = world.policies()
    found = await policies.policy("x.test")
    assert (found.policy, found.result) == (None, result)
    await policies.policy("x.test")
    assert len(world.server.asked) == 1
    world.server.headers, world.server.body = {"Content-Type": "text/plain"}, policy("mx1.x.test")
    world.at += 301
    assert (await policies.policy("x.test")).policy is not None


async def test_a_policy_that_could_not_be_had_is_no_failure_any_more_once_nobody_announces_one(world: World) -> None:
    policies = world.policies()
    world.server.body = b"nonsense"
    assert (await policies.policy("x.test")).problem
    world.dns._records.pop(next(key for key in world.dns._records if "_mta-sts" in str(key[0])))
    found = await policies.policy("x.test")
    assert found.problem == ""
    assert found.policy is None


async def test_many_large_policies_took_all_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes us send to 100,000 domains of his could have 64 KiB kept for each."""
    monkeypatch.setattr(sts, "_MOST_OCTETS", 150_000)
    large = policy("mx1.x.test") + b"note: " + b"x" * 60_000 + b"\r\n"
    before = world.policies()
    for number in range(4):
        stored = store.StoredPolicy(f"d{number}.test", "1", large, 100.0 + number)
        await before._database.change(store.put_policy, stored)
    again = world.policies()
    assert list(again._known) == ["d2.test", "d3.test"]
    world.server.body = large
    assert (await again.policy("x.test")).policy is not None
    assert list(again._known) == ["d3.test", "x.test"]
    assert again._octets == sum(known.octets for known in again._known.values()) <= 150_000
