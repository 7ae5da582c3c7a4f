"""`mail.queue.view`: the documents that operators and programs read."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.journal import ContentRef
from mail.delivery.courier import Carried, Job
from mail.queue.select import Selector
from mail.queue.store import MessageRow, several
from tests.support.queue_machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path, always=("the.cpq.host",))
    yield one
    await one.close()


async def busy(job: Job, dcid: int) -> Sequence[Carried]:
    return [Carried(one.rid, "soft", 451, "4.3.2", "later") for one in job.recipients]


async def test_hosts_are_ordered_as_asked(machine: Machine) -> None:
    machine.courier.behave = busy
    queue = await machine.start()
    await machine.accept("a@one.test")
    await machine.accept("a@two.test", "b@two.test")
    await machine.until(lambda: machine.counters.counts.get("soft_bounced_evts") == 3)
    shown = queue.views.tophosts("soft_bounced")["hosts"]
    assert [(one["host"], one["soft_bounced"], one["active_recipients"]) for one in shown] == [
        ("two.test", 2, 2),
        ("one.test", 1, 1),
        ("the.cpq.host", 0, 0),
    ]
    with pytest.raises(GatepostError, match="cannot sort by 'size'"):
        queue.views.tophosts("size")


async def test_recipients_are_shown_from_memory_and_from_the_index_alike(machine: Machine) -> None:
    machine.courier.behave = busy
    queue = await machine.start()
    mid = await machine.accept("a@one.test", "b@two.test", sender="Ann@here.test")
    await machine.until(lambda: machine.counters.counts.get("soft_bounced_evts") == 2)
    early = (await queue.views.showrecipients(Selector(sender="ann@")))["recipients"]
    await machine.until(lambda: not queue._book.messages)
    late = (await queue.views.showrecipients(Selector(sender="@HERE.test")))["recipients"]
    assert sorted(early, key=lambda one: one["rid"]) == late
    assert [one["next_attempt_at"] > machine.now() for one in late] == [True, True]
    shown = late[0] | {"next_attempt_at": 0}
    assert shown == {
        "mid": str(mid),
        "rid": "0",
        "sender": "Ann@here.test",
        "recipient": "a@one.test",
        "destination": "one.test",
        "size": 20,
        "subject": "x",
        "attempts": 1,
        "next_attempt_at": 0,
        "last_reply": "451 4.3.2 later",
    }
    assert (await queue.views.showrecipients(Selector("two.test")))["recipients"][0]["rid"] == "1"
    assert (await queue.views.showrecipients(Selector("one.test", "bob@")))["recipients"] == []


async def test_a_limited_list_says_that_there_is_more(machine: Machine) -> None:
    machine.courier.behave = busy
    queue = await machine.start()
    for number in range(5):
        await machine.accept(f"a{number}@one.test")
    await machine.until(lambda: machine.counters.counts.get("soft_bounced_evts") == 5)
    shown = await queue.views.showrecipients(limit=2)
    found = [one["mid"] for one in shown["recipients"]]
    while shown["next"] is not None:
        shown = await queue.views.showrecipients(limit=2, after=shown["next"])
        found += [one["mid"] for one in shown["recipients"]]
    assert found == [one["mid"] for one in (await queue.views.showrecipients())["recipients"]]
    assert len(found) == 5


async def test_a_host_that_no_mail_was_queued_for_is_called_unknown(machine: Machine) -> None:
    queue = await machine.start()
    with pytest.raises(GatepostError, match=r"nowhere\.test: no mail has been queued for this host") as caught:
        queue.views.hoststatus("nowhere.test")
    assert caught.value.status == 66


async def test_a_pseudo_host_is_shown_even_when_idle(machine: Machine) -> None:
    queue = await machine.start()
    shown = queue.views.hoststatus("The.CPQ.Host")
    assert (shown["host"], shown["state"], shown["limiting_rule"]) == ("the.cpq.host", "unknown", None)
    assert shown["gauges"]["active_recips"] == 0
    assert {"counters", "addresses", "mx", "last_5xx", "last_tls_error"} <= shown.keys()


async def test_status_counts_what_was_tried_and_what_was_not(machine: Machine) -> None:
    machine.courier.behave = busy
    queue = await machine.start()
    await machine.accept("a@one.test")
    await machine.until(lambda: machine.counters.counts.get("soft_bounced_evts") == 1)
    document = await queue.verbs()["status"]({})
    assert document["state"] == "Online"
    assert document["troubles"] == []
    gauges = document["gauges"]
    assert (gauges["active_recips"], gauges["attempted_recips"], gauges["unattempted_recips"]) == (1, 1, 0)
    assert gauges["dests_in_memory"] >= 1
    await machine.accept("a@two.test")
    await machine.until(lambda: machine.counters.counts.get("soft_bounced_evts") == 2)
    assert (await queue.verbs()["status"]({}))["gauges"]["dests_in_memory"] == gauges["dests_in_memory"] + 1
    assert document["counters"]["soft_bounced_evts"]["lifetime"] == 1


async def test_a_message_whose_content_moves_while_a_rule_is_asked_is_listed(machine: Machine) -> None:
    machine.courier.behave = busy
    queue = await machine.start()
    mid = await machine.accept("a@one.test", content=b"Subject: x\r\n\r\nsecret\r\n")
    await machine.until(lambda: not queue._book.messages and machine.counters.counts.get("soft_bounced_evts") == 1)
    places, gone = queue._places, queue._places.queue / "gone"
    locate = places.locate
    asked: list[int] = []

    def before_the_move(row: MessageRow) -> ContentRef:
        asked.append(row.mid)
        return locate(row)._replace(kind="file", path=gone) if len(asked) == 1 else locate(row)

    class Moving:
        locate = staticmethod(before_the_move)

    queue._picker._places = Moving()  # type: ignore[assignment]
    selector = Selector.of({"filter": "body-contains('secret')"})
    shown = (await queue.views.showrecipients(selector))["recipients"]
    assert [one["mid"] for one in shown] == [str(mid)]
    assert asked == [mid, mid]


async def test_a_message_in_memory_and_in_the_index_is_listed_once(machine: Machine) -> None:
    machine.courier.behave = busy
    queue = await machine.start()
    mids = [await machine.accept("a@one.test") for _ in range(6)]
    await machine.until(lambda: not queue._book.messages and machine.counters.counts.get("soft_bounced_evts") == 6)
    for row, rows in await queue._picker.database.run(several, mids):
        queue._loader.lift(row, rows)
    stream = queue._picker.stream(Selector())
    assert [mid for _ in range(4) for mid in await stream.next(2)] == mids
    for message in list(queue._book.messages.values()):
        for parcel in list(message.parcels):
            queue._scheduler.add(parcel, machine.now(), loaded=True)
