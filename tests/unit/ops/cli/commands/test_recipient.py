"""`showrecipients`: selectors reach the queue, rows group by message."""

from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import Caller, Role
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
    async with daemons.up(delivery_queue={"showrecipients": {**FOUND, "next": None}}):
        line = "showrecipients --host B.Example. --sender @a.example --filter true --mid 15,16 --limit 5 --json"
        found = document(await run(line))
        await run("showrecipients --sender <>")
    assert found == {**FOUND, "next": None, "host": "b.example"}
    chosen = {"host": "b.example", "sender": "@a.example", "filter": "true", "mids": ["15", "16"]}
    assert [args for _, _, args in daemons.asked] == [{**chosen, "limit": 5}, {"sender": "", "limit": 10000}]


async def test_a_long_list_is_fetched_in_pages_and_says_how_to_go_on(daemons: Daemons, run: Any) -> None:
    async def page(args: dict[str, Any]) -> dict[str, Any]:
        begin = int(args.get("after") or 0)
        rows = [row(str(n), 0, "b@b.example") for n in range(begin + 1, begin + 1 + min(2, args["limit"]))]
        return {"recipients": rows, "next": rows[-1]["mid"]}

    async with daemons.up(delivery_queue={"showrecipients": page}):
        found = document(await run("showrecipients --limit 5 --json"))
        shown = (await run("showrecipients --limit 5 --after 7")).output
    assert [one["mid"] for one in found["recipients"]] == ["1", "2", "3", "4", "5"]
    assert found["next"] == "5"
    assert shown.endswith("There are more; go on with --after 12, or narrow the choice.")


@pytest.mark.parametrize("role", Role)
async def test_a_guest_could_read_mail_by_asking_about_its_content(daemons: Daemons, run: Any, role: Role) -> None:
    """Who may showmessage may ask; for all others the queue is told not to answer such a question."""
    async with daemons.up(delivery_queue={"showrecipients": FOUND}):
        await run("showrecipients --filter true", caller=Caller("x", role))
    ((_, _, args),) = daemons.asked
    assert args.get("content") is (False if role is Role.GUEST else None)


async def test_a_host_of_which_nothing_waits_looked_like_an_empty_queue(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"showrecipients": {"recipients": [], "next": None}}):
        assert (await run("showrecipients --host Typo.example")).output == (
            "No recipients are waiting for delivery to typo.example."
        )
        assert (await run("showrecipients")).output == "No recipients are waiting for delivery."


async def test_the_number_of_a_system_error_is_no_part_of_the_reply(daemons: Daemons, run: Any) -> None:
    down = {**row("15", 0, "b@b.example"), "last_reply": "[Errno 111] Connection refused"}
    async with daemons.up(delivery_queue={"showrecipients": {"recipients": [down], "next": None}}):
        shown = (await run("showrecipients")).output
    assert "Connection refused" in shown
    assert "Errno" not in shown
