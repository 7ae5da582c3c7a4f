"""The unsubscribe list and new limits in a queue that runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mail.delivery.limit import Limits
from mail.delivery.unsubscribe import Action, Unsubscribed
from mail.queue.queue import QueueSettings
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    yield one
    await one.close()


def listed(action: Action, *entries: str) -> QueueSettings:
    return QueueSettings("esa.example.test", unsubscribed=Unsubscribed(entries, action))


async def test_one_of_two_recipients_is_dropped_and_the_other_has_its_mail(machine: Machine) -> None:
    """The other stood still, taken by a connection that never carried it."""
    queue = await machine.start()
    queue.reconfigure(listed("drop", "gone@"))
    mid = await machine.accept("gone@there.test", "stays@there.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid} done"))
    assert machine.log.having("Global unsubscribe") == [
        f"MID {mid} Global unsubscribe matched entry gone@ RID 0 Address gone@there.test Action dropped"
    ]
    assert [(one, rids) for one, rids, _ in machine.courier.carried] == [(mid, [1])]
    counts = machine.counters.counts
    assert (counts["global_unsub_hits"], counts["deleted_recips"], counts["delivered_recips"]) == (1, 1, 1)
    assert counts["completed_recips"] == 2


async def test_one_of_two_recipients_is_bounced_and_the_other_has_its_mail(machine: Machine) -> None:
    queue = await machine.start()
    queue.reconfigure(listed("bounce", "@.there.test"))
    mid = await machine.accept("gone@sub.there.test", "stays@there.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid} done"))
    (bounced,) = machine.log.having("Bounced: ")
    assert f"MID {mid} to RID 0 - 5.7.1 - Message refused" in bounced
    counts = machine.counters.counts
    assert (counts["other_hard_bounced_recips"], counts["global_unsub_hits"]) == (1, 1)


async def test_a_message_for_nobody_else_opens_no_connection(machine: Machine) -> None:
    queue = await machine.start()
    queue.reconfigure(listed("drop", "@there.test"))
    mid = await machine.accept("gone@there.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid} done"))
    assert machine.courier.carried == []
    assert not machine.log.having("Delivery start")


@pytest.mark.parametrize("per_address", [False, True])
async def test_who_has_unsubscribed_does_not_use_up_the_limit_of_the_interval(
    machine: Machine, per_address: bool
) -> None:
    gone = Unsubscribed(["gone@"], "drop")
    machine.settings = {"unsubscribed": gone, "limits": {"recipient_limit": 1, "per_address": per_address}}
    await machine.start()
    for _ in range(3):
        await machine.accept("gone@there.test")
    mid = await machine.accept("gone@there.test", "stays@there.test")
    await machine.until(lambda: machine.courier.mids() == [mid])


async def test_mail_that_waits_and_its_destination_follow_what_was_reloaded(machine: Machine) -> None:
    """Limits were those of the moment when a destination was first mentioned, until it was forgotten."""
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "x"), "refused")
    queue = await machine.start()
    await machine.accept("a@there.test")
    await machine.until(lambda: machine.log.having("Delayed: "))
    settings = QueueSettings("esa.example.test", limits=lambda _name: Limits(connections=7), connections=9)
    queue.reconfigure(settings)
    (destination,) = [one for key, one in queue._scheduler.destinations.items() if key[0] == "there.test"]
    assert (destination.limits.connections, queue._scheduler.max_connections) == (7, 9)
