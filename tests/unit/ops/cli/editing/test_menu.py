"""The dialogues of tables, whole: what an operator types and what stands on the screen."""

from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import Caller, Role
from tests.support.golden import same_as_golden
from tests.support.operating import Operating

GOLDEN = Path(__file__).parent / "golden"
NEW_DESTINATION = ["new", "example.com", "", "20", "y", "", "500", "2", "", "", "3", "", "1", "", "", "n"]


async def talked(machine: Operating, *lines: str, **more: Any) -> str:
    """Type lines, then end the input."""
    return await machine.talked(*lines, leave="", **more)


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_smtproutes_from_nothing_to_two_routes_and_back(machine: Operating) -> None:
    wrong_then_right = ["mx1..example", "mx1.example.com, mx2.example.com:2525/pri=5"]
    shown = await talked(
        machine,
        "smtproutes",
        *["new", "bad domain", "example.com", *wrong_then_right],
        *["NEW", "Example.com", "ALL", "/dev/null"],
        *["edit", "7", "1", "", "mx3.example.com"],
        "list",
        "print",
        *["delete", "ALL", "y"],
        *["clear", ""],
        "",
    )
    same_as_golden(GOLDEN / "smtproutes.txt", shown)
    assert machine.tables()["route"] == [{"domain": "example.com", "hosts": ["mx3.example.com"]}]


async def test_a_destination_in_the_order_of_the_model(machine: Operating) -> None:
    shown = await talked(machine, "destconfig", *NEW_DESTINATION, "detail", "2", "")
    same_as_golden(GOLDEN / "destconfig.txt", shown)
    assert machine.tables()["destination"] == [
        {
            "domain": "example.com",
            "max_connections": 20,
            "recipient_minutes": 60,
            "recipient_limit": 500,
            "limit_type": "mxip",
            "tls": "required",
            "mta_sts": False,
        }
    ]


async def test_what_counts_for_all_other_destinations(machine: Operating) -> None:
    shown = await talked(machine, "destconfig", "default", "", "9", *[""] * 10, "delete", "")
    assert "The destination DEFAULT was changed" in shown
    assert "delete" not in shown.rpartition("Choose the operation")[2].lower().partition("[]> delete")[0]
    assert machine.tables()["destination"] == [{"domain": "DEFAULT", "max_connections": 9}]


async def test_a_bounce_profile_and_one_that_cannot_go(machine: Operating) -> None:
    shown = await talked(
        machine,
        "bounceconfig",
        *["new", "Bulk", "5", "", "0", "30", "", "2", "nobody", "ops@example.com", "", "", "3", "", "", "", ""],
        *["edit", "Bulk", "", "", "", "", "", "-", "", "", "", "", "", "", "n"],
        *["delete", "Default", "", "n"],
        "",
    )
    same_as_golden(GOLDEN / "bounceconfig.txt", shown)
    assert machine.tables()["bounce_profile"] == [
        {"name": "Bulk", "max_retries": 5, "initial_retry_s": 30, "hard_bounce": "plain", "delay_warnings": "on"}
    ]


async def test_delivery_as_a_whole_asks_the_models_three_questions(machine: Operating) -> None:
    await machine.ran("interfaceconfig new Out 127.0.0.1 out.example.test")
    shown = await talked(machine, "deliveryconfig", "setup", "2", "y", "200000", "200", "", "")
    same_as_golden(GOLDEN / "deliveryconfig.txt", shown)
    expected = {"default_interface": "Out", "possible_delivery": True, "max_connections": 200}
    assert machine.tables()["delivery"] == expected


async def test_interfaces_and_their_groups(machine: Operating) -> None:
    shown = await talked(
        machine,
        "interfaceconfig",
        *["new", "Out", "127.0.0.999", "127.0.0.1", "out.example.test"],
        *["groups", "new", "Both", "Out, Gone", "Out", ""],
        *["delete", "", "y"],
        "",
    )
    same_as_golden(GOLDEN / "interfaceconfig.txt", shown)


async def test_an_order_that_counts(machine: Operating) -> None:
    shown = await talked(
        machine, "altsrchost", "new", "10.0.0.0/8", "1", "new", "@example.com", "1", "move", "2", "9", "1", "list", ""
    )
    same_as_golden(GOLDEN / "altsrchost.txt", shown)
    assert [row["match"] for row in machine.tables()["alt_source"]] == ["@example.com", "10.0.0.0/8"]


async def test_the_unsubscribe_list_and_what_is_done(machine: Operating) -> None:
    shown = await talked(
        machine,
        "unsubscribe",
        "new",
        "somebody",
        "user@example.com",
        "setup",
        "y",
        "2",
        "",
        "print",
        "export",
        "",
        "clear",
        "y",
        "",
    )
    same_as_golden(GOLDEN / "unsubscribe.txt", shown)
    assert machine.tables()["unsubscribe"] == {"enabled": True, "action": "bounce"}
    assert (machine.appliance.files / "unsubscribe.txt").read_text().endswith("\nuser@example.com\n")


async def test_a_guest_is_offered_what_a_guest_may_do(machine: Operating) -> None:
    await machine.ran("smtproutes new example.com mx.example.com")
    shown = await talked(machine, "smtproutes", "new", "", caller=Caller("local", Role.GUEST))
    assert "- LIST - " in shown
    assert "- NEW - " not in shown
    assert "Please answer with one of: LIST, DETAIL, PRINT" in shown


async def test_a_large_table_shows_its_beginning_and_says_how_to_see_more(machine: Operating) -> None:
    lines = "".join(f"d{number}.example mx.example\n" for number in range(2000))
    assert (await machine.ran("smtproutes import -", stdin=lines.encode())).error == ""
    shown = await talked(machine, "smtproutes", "list", "d1999", "", width=80)
    assert "There are 2,000 routes:\nNo.  Domain       Hosts\n1.   d0.example   mx.example\n" in shown
    assert "20.  d19.example  mx.example\n… 1,980 more; LIST shows them\n" in shown
    assert "d1999.example  mx.example\n" in shown
    shown = await talked(machine, "smtproutes", "list", "", "", width=80)
    assert "… 1,900 more of 2,000: --match TEXT or --limit N shows them, `export` writes all" in shown


async def test_a_dialogue_named_with_its_place_changes_that_listener(machine: Operating) -> None:
    shown = await talked(machine, "listenerconfig edit OutboundMail limits", "40", "")
    assert "internal error" not in shown
    assert machine.tables()["listener"][1]["max_connections"] == 40
