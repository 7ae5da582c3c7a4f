"""`mail.delivery.tls.sts`: which policy is in force, from a real policy host over a real resolver."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.dns import Resolver
from core.https import HttpsClient, HttpsSettings
from core.sqlite import DatabaseThread
from mail.delivery.tls import store
from mail.delivery.tls.sts import StsPolicies
from tests.support.authority import Authority, server_context
from tests.support.dns_server import DnsServer
from tests.support.https_server import HttpsServer
from tests.support.queue_machine import FakeLog

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

    def policies(self) -> StsPolicies:
        """Give the policies as after a start."""
        resolver = Resolver([self.dns.address], timeout_s=1, cache_size=0, monotonic=lambda: 0.0)
        self.databases.append(DatabaseThread(self.folder / "tls.db", store.SCHEMA))
        https = HttpsClient(resolver, HttpsSettings(self.server.port, str(self.folder / "ca.pem"), 5))
        return StsPolicies(_Uncached(resolver), https, self.databases[-1], log=self.log, now=lambda: self.at)

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
