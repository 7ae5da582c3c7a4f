"""`mail.queue.suspension` and how verbs name a destination: however a domain is written, it is one queue."""

from pathlib import Path

import pytest

from core.errors import GatepostError
from mail.queue.select import Selector
from tests.support.queue_machine import Machine

WRITTEN = ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE"]


@pytest.mark.parametrize("name", WRITTEN)
async def test_a_suspended_domain_is_suspended_however_it_is_written(tmp_path: Path, name: str) -> None:
    machine = Machine(tmp_path)
    queue = await machine.start()
    verbs = queue.verbs()
    assert (await verbs["suspend"]({"hosts": [name], "delay_s": 0}))["hosts"] == ["xn--bcher-kva.example"]
    held = await machine.accept("b@bücher.example")
    other = await machine.accept("b@other.test")
    await machine.until(lambda: machine.courier.mids() == [other])
    assert (await verbs["hoststatus"]({"host": name}))["limiting_rule"] == "Deliveries are currently suspended"
    assert [line["mid"] for line in (await verbs["showrecipients"]({"host": name}))["recipients"]] == [str(held)]
    await verbs["resume"]({"hosts": [name]})
    await machine.until(lambda: machine.courier.mids() == [other, held])
    await machine.close()


async def test_what_is_no_host_is_not_suspended(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    verbs = (await machine.start()).verbs()
    for name in ("", "a b", "user@x.test", "a,b"):
        with pytest.raises(GatepostError) as caught:
            await verbs["suspend"]({"hosts": [name]})
        assert caught.value.status == 65
    await machine.close()


async def test_seconds_were_taken_for_the_domain_to_suspend(tmp_path: Path) -> None:
    """`suspenddel 30` suspended delivery to a domain `30`."""
    machine = Machine(tmp_path)
    queue = await machine.start()
    with pytest.raises(GatepostError, match="30 is not a domain; seconds to wait are given as --seconds 30") as caught:
        await queue.verbs()["suspend"]({"hosts": ["30"], "delay_s": 30})
    assert caught.value.status == 65
    assert (await queue.verbs()["status"]({}))["suspended_hosts"] == []
    await machine.close()


def test_a_selector_knows_a_domain_however_it_is_written() -> None:
    assert {Selector.of({"host": name}).host for name in WRITTEN} == {"xn--bcher-kva.example"}
    assert Selector.of({"host": "The.CPQ.Host"}).host == "the.cpq.host"


async def test_held_mail_for_an_international_domain_goes_to_that_domains_one_queue(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    queue = await machine.start()
    mid = await machine.accept("b@bücher.example", verdict="hold")
    await machine.until(lambda: ("the.hold.queue", "") in queue._scheduler.destinations)
    await queue.verbs()["operate"]({"action": "release"})
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert ("xn--bcher-kva.example", "") in queue._scheduler.destinations
    assert ("bücher.example", "") not in queue._scheduler.destinations
    await machine.close()
