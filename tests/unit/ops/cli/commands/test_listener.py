"""listenerconfig: each dialogue as an operator sees it, the same in one line, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from mail.config import KIND_POLICY
from ops.cli.account import Caller, Role
from tests.support.appliance import Daemons
from tests.support.golden import same_as_golden
from tests.support.operating import Operating

GOLDEN = Path(__file__).parent / "golden"
GUEST = Caller("gus", Role.GUEST, "127.0.0.1")
DEFAULTS = {kind: policy.model_dump(exclude_none=True) for kind, policy in KIND_POLICY.items()}
TEXT = """\
[appliance]
role = "esa"
serial = "42AB-CD"
hostname = "esa.example.test"

[[interface]]
name = "Data1"
address = "127.0.1.1"
hostname = "esa.example.test"

[[text]]
name = "legal"
kind = "disclaimer"
text = "For you only."

[[listener]]
name = "InboundMail"
address = "127.0.1.1"
port = 2525
rat = ["example.test"]

[[listener]]
name = "OutboundMail"
kind = "private"
address = "127.0.1.1"
port = 2526
"""


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path, TEXT, listener_defaults=DEFAULTS)


def row(machine: Operating, name: str) -> Any:
    return next(row for row in machine.tables()["listener"] if row["name"] == name)


async def talk(machine: Operating, *answers: str) -> str:
    """Type answers and leave with the changes uncommitted."""
    return await machine.talked(*answers, leave="exit y")


async def test_a_public_listener_is_made_by_the_models_questions(machine: Operating) -> None:
    answers = ["new", "2", "Extra", "1", "1", "2525", "2527", "example.test, .example.net", "y", "200", "n", ""]
    same_as_golden(GOLDEN / "listenerconfig-new-public.txt", await talk(machine, "listenerconfig", *answers))
    made = row(machine, "Extra")
    assert (made["kind"], made["address"], made["port"]) == ("public", "127.0.1.1", 2527)
    assert made["rat"] == ["example.test", ".example.net"]
    assert made["policy"] == {"max_recipients_per_hour": 200}
    assert made["default_policy"] == "ACCEPTED"
    assert [group["name"] for group in made["sender_group"]] == [
        "ALLOWED_LIST",
        "BLOCKED_LIST",
        "SUSPECTLIST",
        "UNKNOWNLIST",
    ]


async def test_a_private_listener_relays_for_whom_it_is_told_and_its_policy_can_be_changed(machine: Operating) -> None:
    policy = ["y", "50M", "20", "", "1000", "0", "", "3", ""]
    answers = [
        "new",
        "1",
        "a b",
        "Relay",
        "2",
        "127.0.1.9",
        "",
        "25",
        "300.1.",
        "10.0.0.0/8, .example.test",
        "n",
        *policy,
        "",
    ]
    same_as_golden(GOLDEN / "listenerconfig-new-private.txt", await talk(machine, "listenerconfig", *answers))
    made = row(machine, "Relay")
    assert made["policy"] == {
        "max_message_size": "50M",
        "max_connections_per_address": 20,
        "max_recipients_per_message": 1000,
        "tls": "required",
    }
    assert made["sender_group"][0]["entries"] == ["10.0.0.0/8", ".example.test"]
    assert made["default_policy"] == "BLOCKED"


@pytest.mark.parametrize(("queue", "kind"), [("y", "sinkhole-queuing"), ("n", "sinkhole")])
async def test_a_sinkhole_is_made_by_the_models_questions(machine: Operating, queue: str, kind: str) -> None:
    answers = ["new", "3", queue, "Hole", "1", "1", "2530", "127.0.0.1", "n", "n", ""]
    shown = await talk(machine, "listenerconfig", *answers)
    same_as_golden(GOLDEN / f"listenerconfig-new-{kind}.txt", shown)
    made = row(machine, "Hole")
    assert made["kind"] == kind
    assert made["sender_group"][0]["entries"] == ["127.0.0.1"]


async def test_the_same_in_one_line(machine: Operating) -> None:
    done = await machine.ran("listenerconfig new Extra public Data1 2527 example.test --tls required --json")
    assert done.error == ""
    assert json.loads(done.output)["listener"]["policy"] == {"tls": "required"}
    assert row(machine, "Extra")["address"] == "127.0.1.1"
    listed = json.loads((await machine.ran("listenerconfig list --json")).output)["listeners"]
    assert [(one["name"], one["interface"], one["port"], one["state"]) for one in listed] == [
        ("InboundMail", "Data1", 2525, "unknown"),
        ("OutboundMail", "Data1", 2526, "unknown"),
        ("Extra", "Data1", 2527, "unknown"),
    ]


async def test_the_list_says_what_the_gateway_says(machine: Operating, daemons: Daemons) -> None:
    def says(*rows: tuple[str, int, str, int]) -> Any:
        names = ("name", "port", "state", "connections")
        return {
            "listeners": {"listeners": [{"address": "127.0.1.1", **dict(zip(names, one, strict=True))} for one in rows]}
        }

    await machine.ran("listenerconfig edit OutboundMail interface Data1 2529")
    first = says(("InboundMail", 2525, "listening", 2), ("OutboundMail", 2526, "listening", 1))
    second = says(("InboundMail", 2525, "suspended", 1), ("OutboundMail", 2526, "listening", 0))
    async with daemons.up(gateway_0=first, gateway_1=second):
        shown = (await machine.ran("listenerconfig list")).output
    assert shown.splitlines() == [
        "Currently configured listeners:",
        "1. InboundMail (on Data1, 127.0.1.1) SMTP Port 2525 Public (suspended)",
        "2. OutboundMail (on Data1, 127.0.1.1) SMTP Port 2529 Private (not in force)",
    ]


async def test_edit_shows_the_listener_and_goes_into_each_of_its_menus(machine: Operating) -> None:
    answers = ["edit", "1", "name", "Incoming", "interface", "1", "2600", "limits", "300", "50"]
    answers += ["certificate", "2", "3", "bounceconfig", "", ""]
    shown = await talk(machine, "listenerconfig", *answers, "", "")
    same_as_golden(GOLDEN / "listenerconfig-edit.txt", shown)
    made = row(machine, "Incoming")
    assert (made["port"], made["max_connections"], made["tcp_queue"]) == (2600, 300, 50)


async def test_host_access_by_its_menu(machine: Operating) -> None:
    answers = ["reset", "y", "new", "PARTNERS", "10.1.2.3 (the relay), .partner.test", "1", "friends"]
    answers += ["add", "2", "10.66.0.0/16", "move", "PARTNERS", "1", "delete", "UNKNOWNLIST", "y", "print", ""]
    shown = await talk(machine, "listenerconfig edit InboundMail hostaccess", *answers)
    same_as_golden(GOLDEN / "listenerconfig-hostaccess.txt", shown)
    groups = row(machine, "InboundMail")["sender_group"]
    assert [group["name"] for group in groups] == ["PARTNERS", "ALLOWED_LIST", "BLOCKED_LIST", "SUSPECTLIST"]
    assert groups[0]["mail_flow_policy"] == "TRUSTED"


async def test_recipients_by_their_menu(machine: Operating) -> None:
    answers = [
        "new",
        "spam@example.test",
        "2",
        "#5.7.1 Not this one",
        "n",
        "move",
        "spam@example.test",
        "1",
        "print",
        "",
    ]
    shown = await talk(machine, "listenerconfig edit InboundMail rcptaccess", *answers)
    same_as_golden(GOLDEN / "listenerconfig-rcptaccess.txt", shown)
    assert row(machine, "InboundMail")["rat"] == [
        {"recipient": "spam@example.test", "rule": "REJECT", "text": "#5.7.1 Not this one"},
        "example.test",
    ]


async def test_a_host_access_table_leaves_and_comes_back_the_same(machine: Operating) -> None:
    assert (await machine.ran("listenerconfig edit InboundMail hostaccess reset")).error == ""
    assert (await machine.ran("listenerconfig edit InboundMail hostaccess add BLOCKED_LIST 10.6.6.6")).error == ""
    before = row(machine, "InboundMail")
    text = (await machine.ran("listenerconfig edit InboundMail hostaccess export -")).output
    assert "$BLOCKED\n    REJECT\n" in text
    done = await machine.ran("listenerconfig edit OutboundMail hostaccess import -", stdin=text.encode())
    assert (done.error, done.output.splitlines()[0]) == (
        "",
        "4 groups and 4 policies were read; pending until `commit`.",
    )
    keys = ("default_policy", "mail_flow_policy", "sender_group")
    after = row(machine, "OutboundMail")
    assert [{k: g[k] for k in g if k != "entries" or g[k]} for g in after["sender_group"]] == [
        {k: g[k] for k in g if k != "entries" or g[k]} for g in before["sender_group"]
    ]
    assert after[keys[0]] == before[keys[0]]
    assert after[keys[1]] == before[keys[1]]


@pytest.mark.parametrize("listener", ["InboundMail", "OutboundMail"])
async def test_a_host_access_table_that_is_exported_and_imported_changes_nothing(
    machine: Operating, listener: str
) -> None:
    table = f"listenerconfig edit {listener} hostaccess"
    text = (await machine.ran(f"{table} export -")).output.encode()
    done = await machine.ran(f"{table} import -", stdin=text)
    assert (done.error, done.output) == ("", "0 groups and 0 policies were read; nothing is different.")
    assert not machine.appliance.editing("local").pending
    assert (await machine.ran(f"{table} reset")).status == 0
    before = row(machine, listener)
    text = (await machine.ran(f"{table} export -")).output.encode()
    done = await machine.ran(f"{table} import -", stdin=text)
    assert done.output.endswith("were read; nothing is different.")
    assert row(machine, listener) == before


async def test_of_an_imported_host_access_table_only_what_is_different_changes(machine: Operating) -> None:
    table = "listenerconfig edit InboundMail hostaccess"
    assert (await machine.ran(f"{table} reset")).status == 0
    before = row(machine, "InboundMail")
    text = (await machine.ran(f"{table} export -")).output
    more = text.replace("$BLOCKED\n    REJECT\n", "$BLOCKED\n    TCPREFUSE\n") + "\n"
    done = await machine.ran(f"{table} import -", stdin=more.encode())
    assert done.output.splitlines()[0].endswith("pending until `commit`.")
    after = row(machine, "InboundMail")
    policies = [(old, new) for old, new in zip(before["mail_flow_policy"], after["mail_flow_policy"], strict=True)]
    assert [new["name"] for old, new in policies if old != new] == ["BLOCKED"]
    del before["mail_flow_policy"], after["mail_flow_policy"]
    assert after == before


async def test_what_a_file_leaves_open_or_brings_in_vain_is_said(machine: Operating) -> None:
    text = "G:\n  SBRS[none]\n  10.1.\n    REJECT (enough)\n"
    done = await machine.ran("listenerconfig edit OutboundMail hostaccess import -", stdin=text.encode())
    assert done.output.splitlines() == [
        "1 group and 0 policies were read; pending until `commit`.",
        "Note: line 2: SBRS[none]: not kept: there is no source of reputation or lists here, it would match nobody",
        "Note: nothing is said of ALL: REJECT counts for everybody else",
    ]
    shown = json.loads((await machine.ran("listenerconfig edit OutboundMail hostaccess print --json")).output)
    assert shown["sender_group"] == [{"name": "G", "entries": ["10.1."], "rule": "REJECT", "comment": "enough"}]
    assert (shown["mail_flow_policy"], shown["default_rule"]) == ([], "REJECT")


async def test_every_fault_of_a_file_is_told_with_its_line_and_nothing_changes(machine: Operating) -> None:
    text = "$A\n  ACCEPT { max_rcpts_per_msg = many }\nG:\n  300.1.2.3\n    $B\n$A REJECT\n"
    done = await machine.ran("listenerconfig edit InboundMail hostaccess import -", stdin=text.encode())
    assert done.status == 65
    for part in (
        "line 2: ",
        "line 3: ",
        "'300.1.2.3' has an octet above 255",
        "line 5: $B: there is no such policy in this text",
        "line 6: the policy A stands in line 1 already",
    ):
        assert part in done.error
    assert not machine.appliance.editing("local").pending


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("listenerconfig new InboundMail public Data1 2599", 65, "a listener InboundMail is there already"),
        ("listenerconfig new Extra public Data1 2525", 65, "127.0.1.1:2525 is the port of InboundMail"),
        (
            "listenerconfig new Extra public Nowhere 2527",
            65,
            "neither an IP address nor an interface; there are: Data1",
        ),
        ("listenerconfig new Extra qmqp Data1 2527", 64, "not one of public, private, sinkhole-queuing, sinkhole"),
        ("listenerconfig edit Nobody hostaccess print", 66, "no listener is called 'Nobody'"),
        ("listenerconfig edit InboundMail interface Data1 2526", 65, "is the port of OutboundMail"),
        ("listenerconfig edit InboundMail name OutboundMail", 65, "a listener OutboundMail is there already"),
        ("listenerconfig delete Nobody", 66, "no listener is called 'Nobody'"),
        ("listenerconfig edit InboundMail hostaccess add NONE 10.0.0.1", 66, "no sender group is called 'NONE'"),
        ("listenerconfig edit InboundMail limits --max-connections 0", 65, "max_connections"),
        ("listenerconfig new Extra public Data1 2527 two..dots", 65, "two..dots"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(
    machine: Operating, line: str, status: int, reason: str
) -> None:
    done = await machine.ran(line)
    assert (done.status, reason in done.error) == (status, True), done.error
    assert not machine.appliance.editing("local").pending


async def test_whole_listeners_leave_and_come_back(machine: Operating) -> None:
    access = "listenerconfig edit InboundMail"
    for line in (
        f"{access} hostaccess reset",
        f"{access} hostaccess add BLOCKED_LIST '10.6.6.6 (a \"quoted\", remark)'",
        f"{access} rcptaccess new user@example.test REJECT --text '#5.1.1 gone: \\ backslash' --comment why",
        f"{access} limits --max-connections 30",
    ):
        assert (await machine.ran(line)).error == "", line
    before = machine.tables()["listener"]
    text = (await machine.ran("listenerconfig export -")).output
    assert (await machine.ran("listenerconfig delete InboundMail OutboundMail")).error == ""
    assert machine.tables()["listener"] == []
    done = await machine.ran("listenerconfig import -", stdin=text.encode())
    assert (done.error, machine.tables()["listener"]) == ("", before)


async def test_a_group_in_one_line_has_a_policy_or_a_rule(machine: Operating) -> None:
    access = "listenerconfig edit InboundMail hostaccess"
    assert (await machine.ran(f"{access} policy new SLOW --max-recipients-per-hour 5")).error == ""
    assert (await machine.ran(f"{access} new G 10.1. .slow.test --rule REJECT --comment 'too many'")).error == ""
    group = {"name": "G", "entries": ["10.1.", ".slow.test"], "comment": "too many"}
    assert row(machine, "InboundMail")["sender_group"] == [{**group, "rule": "REJECT"}]
    assert (await machine.ran(f"{access} edit G --mail-flow-policy SLOW")).error == ""
    assert row(machine, "InboundMail")["sender_group"] == [{**group, "mail_flow_policy": "SLOW"}]
    assert (await machine.ran(f"{access} edit G --rule relay")).error == ""
    assert row(machine, "InboundMail")["sender_group"] == [{**group, "rule": "RELAY"}]
    assert "has: 10.1., .slow.test, 10.2.; pending" in (await machine.ran(f"{access} add G 10.2.")).output
    assert (await machine.ran(f"{access} remove G 10.1. .SLOW.test")).error == ""
    assert row(machine, "InboundMail")["sender_group"][0]["entries"] == ["10.2."]
    refused = await machine.ran(f"{access} edit G --mail-flow-policy NONE")
    assert (refused.status, "names the policy NONE; there are: SLOW" in refused.error) == (65, True)


async def test_a_guest_looks_and_changes_nothing(machine: Operating) -> None:
    assert (await machine.ran("listenerconfig edit InboundMail print", GUEST)).error == ""
    assert (await machine.ran("listenerconfig edit InboundMail hostaccess print", GUEST)).error == ""
    assert (await machine.ran("listenerconfig new Extra public Data1 2527", GUEST)).status == 77
    shown = await machine.talked("listenerconfig", "edit", "1", "", "", caller=GUEST)
    assert "- NEW" not in shown
    assert "- LIMITS" not in shown


async def test_the_default_policy_and_the_named_ones_by_their_menus(machine: Operating) -> None:
    default = ["default", "5M", "", "", "", "", "", "3", "2", "1"]
    made = ["policy", "new", "SLOW", "1", "for strangers", "y", "", "3", "", "", "60", "", "", ""]
    refusing = ["new", "NEVER", "3", "", "", "#5.7.1 Go away", "list", "delete", "SLOW", "y", ""]
    answers = [*default, *made, *refusing, "new", "G", "ALL", "1", "", ""]
    shown = await talk(machine, "listenerconfig edit InboundMail hostaccess", *answers)
    same_as_golden(GOLDEN / "listenerconfig-policies.txt", shown)
    made_row = row(machine, "InboundMail")
    assert made_row["policy"] == {"max_message_size": "5M", "tls": "required"}
    assert made_row["mail_flow_policy"] == [{"name": "NEVER", "rule": "REJECT", "reject_text": "#5.7.1 Go away"}]
    assert made_row["sender_group"] == [{"name": "G", "entries": ["ALL"], "mail_flow_policy": "NEVER"}]


async def test_every_other_operation_of_edit_asks_for_its_keys(machine: Operating) -> None:
    answers = ["setup", "2", "50", "", "", *[""] * 6, "2", "timeouts", "200", *[""] * 4, "greeting", "2", "", "2", "2"]
    answers += ["proxy", "10.0.0.1", "10.0.0.2", "bounceverification", "2", "", "smtpauth", "2", "1"]
    answers += ["masquerade", "new", "@example.test", "@example.net", "config", "From", ""]
    answers += ["domainmap", "new", "old.test", "new.test", "", ""]
    shown = await talk(machine, "listenerconfig edit InboundMail", *answers)
    same_as_golden(GOLDEN / "listenerconfig-edit-others.txt", shown)
    made = row(machine, "InboundMail")
    wanted = {
        "footer": "legal",
        "eight_bit_headers": "reject",
        "max_received": 50,
        "command_timeout_s": 200,
        "reverse_names": "always",
        "greet_delay_s": 2,
        "early_talk": "reject",
        "proxy_from": ["10.0.0.1"],
        "xclient_from": ["10.0.0.2"],
        "bounce_verification": "reject",
        "masquerade": [{"match": "@example.test", "to": "@example.net"}],
        "masquerade_in": ["From"],
        "domain_map": [{"match": "old.test", "to": "new.test"}],
    }
    assert {key: made.get(key) for key in wanted} == wanted


async def test_setup_and_delete_by_the_menu(machine: Operating) -> None:
    answers = ["setup", "conservation", "40", *[""] * 12, "", "delete", "OutboundMail", "n", "delete", "2", "y", ""]
    same_as_golden(GOLDEN / "listenerconfig-setup-delete.txt", await talk(machine, "listenerconfig", *answers))
    assert machine.tables()["conservation"] == {"memory_start": 40}
    assert [one["name"] for one in machine.tables()["listener"]] == ["InboundMail"]


async def test_names_of_listeners_are_completed(machine: Operating) -> None:
    registry, appliance = machine.executor.registry, machine.appliance
    found = registry.complete("listenerconfig edit InboundMail host", appliance, GUEST)
    assert found == ["hostaccess"]


async def test_a_fault_in_an_imported_host_access_table_names_the_key_as_the_file_does(machine: Operating) -> None:
    text = "$SLOW\n    ACCEPT {\n        max_rcpts_per_hour = many\n    }\n"
    done = await machine.ran("listenerconfig edit InboundMail hostaccess import -", stdin=text.encode())
    assert (done.status, done.error) == (65, "line 3: max_rcpts_per_hour: must be a whole number (found 'many')")
