"""`quarantine`: on the management host only, pages, roles, layout."""

from pathlib import Path
from typing import Any

from core.errors import GatepostError
from ops.cli.account import Caller, Role
from tests.support.appliance import NOW, Daemons, document
from tests.support.golden import same_as_golden

GOLDEN = Path(__file__).parent / "golden"
MESSAGE = {
    "id": "7f3a",
    "appliance": "42AB-CD",
    "mid": "1520",
    "sender": "",
    "recipients": ["b@b.example", "c@c.example"],
    "subject": "Win \u202e now\r\nDeleted. 0 messages",
    "size": 20480,
    "quarantines": [
        {
            "name": "Policy",
            "reason": "message filter:hold_it",
            "matched": "[hold]",
            "state": "held",
            "expires_at": NOW + 86400,
        },
        {"name": "Virus", "reason": "scanner", "state": "released", "expires_at": NOW + 86400},
    ],
    "received_at": NOW - 60,
}
SHOWN = {
    **MESSAGE,
    "headers": [{"name": "From", "value": "x@y.example"}, {"name": "Subject", "value": "Win \x1b[2J\r\nX: y"}],
    "decisions": [{"stage": "filters", "rule": "hold_it", "input": "[hold]", "verdict": "quarantine"}],
}


async def test_list_looks_as_it_did(daemons: Daemons, run: Any) -> None:
    async with daemons.up(release_host={"quarantine_list": {"messages": [MESSAGE], "next": "7f3a"}}):
        result = await run("quarantine list", role="sma")
    same_as_golden(GOLDEN / "quarantine-list.txt", result.output)


async def test_show_looks_as_it_did(daemons: Daemons, run: Any) -> None:
    async with daemons.up(release_host={"quarantine_show": SHOWN}):
        result = await run("quarantine show 7f3a", role="sma", width=80)
    same_as_golden(GOLDEN / "quarantine-show.txt", result.output)


async def test_search_and_page_reach_the_quarantine(daemons: Daemons, run: Any) -> None:
    async with daemons.up(release_host={"quarantine_list": {"messages": [], "next": None}}):
        line = "quarantine list --quarantine Policy --subject 'win now' --limit 5 --after 7f3a --json"
        assert document(await run(line, role="sma")) == {"messages": [], "next": None}
    asked = {"quarantine": "Policy", "subject": "win now", "limit": 5, "after": "7f3a"}
    assert daemons.asked == [("release-host", "quarantine_list", asked)]


async def test_release_and_delete_take_several_ids(daemons: Daemons, run: Any) -> None:
    verbs = {"quarantine_release": {"released": ["1", "2"], "deleted": ["9"]}, "quarantine_delete": {"deleted": ["3"]}}
    async with daemons.up(release_host=verbs):
        released = await run("quarantine release 1 2", role="sma")
        deleted = document(await run("quarantine delete 3 --json", role="sma"))
    assert released.output == "2 messages released. Deleted from another quarantine, so never delivered: 9."
    assert deleted == {"deleted": ["3"]}
    assert [args for _, _, args in daemons.asked] == [{"ids": ["1", "2"]}, {"ids": ["3"]}]


async def test_an_unknown_id_is_status_66(daemons: Daemons, run: Any) -> None:
    async with daemons.up(release_host={"quarantine_show": GatepostError("no message 9 is in quarantine", 66)}):
        assert (await run("quarantine show 9", role="sma")).status == 66


async def test_a_guest_and_support_may_look_but_not_release(run: Any) -> None:
    for role in (Role.GUEST, Role.SUPPORT):
        result = await run("quarantine release 1", role="sma", caller=Caller("x", role))
        assert result.status == 77
        assert f"not allowed for the role {role}" in result.error


async def test_a_gateway_keeps_no_quarantine(run: Any) -> None:
    result = await run("quarantine list")
    assert (result.status, result.error) == (
        77,
        "quarantine list: not a command of this machine (esa); it runs on: sma",
    )


async def test_the_operation_must_be_named(run: Any) -> None:
    result = await run("quarantine", role="sma")
    assert result.status == 64
    assert (
        "say which operation: quarantine delete, quarantine list, quarantine release, quarantine show" in result.error
    )
    assert (await run("quarantine peek", role="sma")).error.startswith("quarantine peek: no such operation")
