"""`showrecipients`: selectors reach the queue, rows group by message."""

from pathlib import Path
from typing import Any

from tests.support.appliance import Daemons, document
from tests.support.golden import same_as_golden


def row(mid: str, rid: int, recipient: str) -> dict[str, Any]:
    return {
        "mid": mid,
        "rid": rid,
        "sender": "ann@a.example",
        "recipient": recipient,
        "destination": recipient.split("@")[1],
        "size": 1230,
        "subject": "Testing \x1b[2J the queue",
        "attempts": 2,
        "next_attempt_at": 0,
        "last_reply": "421 4.3.2 try later",
    }


FOUND = {"recipients": [row("15", 0, "b@b.example"), row("15", 1, "c@c.example"), row("16", 0, "d@d.example")]}


async def test_it_looks_as_it_did(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"showrecipients": FOUND}):
        result = await run("showrecipients", width=80)
    same_as_golden(Path(__file__).parent / "golden" / "showrecipients.txt", result.output)


async def test_selectors_reach_the_queue_and_absent_ones_do_not(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"showrecipients": FOUND}):
        found = document(await run("showrecipients --host B.Example --sender @a.example --limit 5 --json"))
        await run("showrecipients")
    assert found == FOUND
    assert [args for _, _, args in daemons.asked] == [{"host": "b.example", "sender": "@a.example", "limit": 5}, {}]
