"""A name server that is dead, slow or lies, against the real delivery-queue: mail waits for it, and is never misled.

Each kind of wrong has a domain of its own, and one server does all of them at once until it heals. Mail for those
domains waits (4.4.0), mail for other domains goes on meanwhile, and mail for a name that the server says does not exist
is returned (5.1.2), once. Afterwards everything that waited is delivered, once.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.integration.test_delivery_tables import Gateway, OutsideHost, outside_host, route
from tests.support.hostile_dns import WAITS, HostileDns
from tests.support.lab import short_folder
from tests.support.long import either
from tests.support.need import not_allowed
from tests.support.waiting import until

SINK, TRAP = "127.46.9.1", "127.46.9.2"
"""Where mail should go, and where a lie leads; both on port 25, which an exchanger has."""
SETTINGS = """
[delivery]
idle_close_s = 0

[[bounce_profile]]
name = "Default"
initial_retry_s = 1
max_retry_s = 2
"""
RECORDS = (
    "mx.sink.test. 1 IN A " + SINK,
    "good.test. 1 IN MX 10 mx.sink.test.",
    "sender.test. 1 IN MX 10 mx.sink.test.",
    "evil.test. 1 IN MX 10 evil.test.",
    "evil.test. 1 IN A " + TRAP,
    *(f"{mode}.test. 1 IN MX 10 mx.sink.test." for mode in WAITS),
    *(f"half-{mode}.test. 1 IN MX 10 {mode}.hosts.test." for mode in WAITS),
    *(f"{mode}.hosts.test. 1 IN A {SINK}" for mode in WAITS),
)
WAITING = [f"a@{part}{mode}.test" for mode in WAITS for part in ("", "half-")]
"""For half of them the exchanger is told, and not its address."""
STORM = [f"a@nxdomain.number-{number}.test" for number in range(either(20, 500))]
DEAF_S = either(3.0, 60.0)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(240, 600))]


class Host:
    """Takes everything and counts the copies that each recipient got."""

    def __init__(self) -> None:
        self.copies: Counter[str] = Counter()

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        self.copies.update(envelope.rcpt_tos)
        return "250 2.0.0 noted"


@contextlib.asynccontextmanager
async def exchanger(address: str) -> AsyncIterator[Host]:
    """Run a host on port 25 of an address."""
    host, loop = Host(), asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: SMTP(host, hostname="mx.test", loop=loop), address, 25)
    except PermissionError:
        not_allowed("listening on port 25 needs root")
    try:
        yield host
    finally:
        server.close()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    with short_folder() as folder:
        one = Gateway(folder / "esa")
        yield one
        await one.kill()


def configure(gateway: Gateway, server: str, routed: OutsideHost) -> None:
    """Have a machine ask a name server, but for one domain that has a route."""
    gateway.configure(SETTINGS + route(routed.port, "routed.test"))
    config = gateway.dir / "gatepost.toml"
    config.write_text(config.read_text().replace('servers = ["127.0.0.1:9"]', f'servers = ["{server}"]\ntimeout_s = 1'))


def reasons(log: str) -> dict[str, list[str]]:
    """Give, by recipient, why it was delayed or bounced, each line's status."""
    found: dict[str, list[str]] = {}
    to = dict(re.findall(r"MID (\d+) ICID \d+ RID 0 To: <(.*?)>", log))
    for what, mid, status in re.findall(r"(Delayed|Bounced): DCID \S+ MID (\d+) to RID 0 - (\S+) ", log):
        if mid in to:  # reports, and what the other daemon has not written yet, are nobody's here
            found.setdefault(to[mid], []).append(f"{what} {status}")
    return found


async def test_mail_waits_for_a_name_server_that_lies_and_is_sent_when_it_does_not(gateway: Gateway) -> None:
    async with HostileDns(*RECORDS) as server, exchanger(SINK) as sink, exchanger(TRAP) as trap, outside_host() as near:
        configure(gateway, server.address, near)
        await gateway.start()
        for recipient in (*WAITING, *STORM, "a@good.test", "a@routed.test"):
            await gateway.send(recipient)

        def told() -> bool:
            said = reasons(gateway.log())
            waited = all(len(said.get(one, ())) >= 2 for one in WAITING) and all(one in said for one in STORM)
            arrived = sink.copies["a@good.test"] and near.of("a@routed.test")
            return waited and bool(arrived) and sink.copies["someone@sender.test"] >= len(STORM)

        def what() -> str:
            said = reasons(gateway.log())
            return f"{ {one: said.get(one) for one in WAITING} } {sink.copies}\n{gateway.log()[-3000:]}"

        await until(told, what, within_s=either(60, 120))
        assert not [one for one in WAITING if sink.copies[one]], "what nobody said was believed"
        server.hostile = False
        await until(
            lambda: all(sink.copies[one] for one in WAITING), "all that waited is there", within_s=either(60, 120)
        )
        await asyncio.sleep(either(0.5, 5))
        said = reasons(gateway.log())
    assert {one: set(said[one]) for one in WAITING} == {one: {"Delayed 4.4.0"} for one in WAITING}
    assert {one: said[one] for one in STORM} == {one: ["Bounced 5.1.2"] for one in STORM}
    assert sink.copies == {"a@good.test": 1, "someone@sender.test": len(STORM)} | dict.fromkeys(WAITING, 1)
    assert not trap.copies


async def test_mail_waits_for_a_name_server_that_is_not_there(gateway: Gateway) -> None:
    """It is deaf at first, then its port is closed, then it is back on the same port."""
    async with exchanger(SINK) as sink, outside_host() as near:
        server = HostileDns(*RECORDS)
        async with server:
            configure(gateway, server.address, near)
            server.deaf = True
            await gateway.start()
            for number in range(5):
                await gateway.send(f"deaf{number}@good.test")
            await gateway.send("deaf@routed.test")
            await until(lambda: near.of("deaf@routed.test"), "the routed mail")
            await asyncio.sleep(DEAF_S)
        for number in range(5):
            await gateway.send(f"closed{number}@good.test")
        await gateway.send("closed@routed.test")
        await until(lambda: near.of("closed@routed.test"), "the routed mail")
        await asyncio.sleep(DEAF_S)
        await until(lambda: reasons(gateway.log()), "some of it was tried")
        assert not sink.copies
        server.deaf = False
        expected = {f"{state}{number}@good.test": 1 for state in ("deaf", "closed") for number in range(5)}
        async with server:
            await until(lambda: sink.copies.keys() >= expected.keys(), "all that waited is there")
            await asyncio.sleep(0.5)
        said = reasons(gateway.log())
    assert sink.copies == expected
    assert {status for one in said.values() for status in one} == {"Delayed 4.4.0"}
    assert (len(near.of("deaf@routed.test")), len(near.of("closed@routed.test"))) == (1, 1)
