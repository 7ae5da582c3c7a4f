"""The batch forms of tables and sections: what they change, what they refuse, and what they warn of."""

import json
from pathlib import Path

import pytest

from ops.cli.account import LOCAL, Caller, Role
from tests.support.editing import TEXT
from tests.support.operating import Operating


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_every_operation_has_a_batch_form_and_a_document(machine: Operating) -> None:
    found = await machine.ran("smtproutes new example.com mx1.example.com mx2.example.com:25/pri=5 --json")
    row = {"domain": "example.com", "hosts": ["mx1.example.com", "mx2.example.com:25/pri=5"]}
    assert json.loads(found.output) == {"route": row, "name": "example.com", "warnings": []}
    assert (await machine.ran("smtproutes edit EXAMPLE.com a.example,b.example --domain .example.com")).error == ""
    assert machine.tables()["route"] == [{"domain": ".example.com", "hosts": ["a.example", "b.example"]}]
    assert json.loads((await machine.ran("smtproutes list --json")).output) == {
        "route": [{"domain": ".example.com", "hosts": ["a.example", "b.example"]}],
        "total": 1,
    }
    assert json.loads((await machine.ran("smtproutes delete .example.com --json")).output) == {
        "deleted": [".example.com"],
        "warnings": [],
    }
    assert "route" not in machine.tables()


async def test_nothing_is_in_force_before_a_commit(machine: Operating) -> None:
    await machine.ran("smtproutes new example.com mx.example.com")
    editing = machine.appliance.editing("local")
    assert "route" not in editing.in_force()
    assert [change.what for change in editing.changes] == ["smtproutes new example.com"]
    assert "route" not in machine.appliance.editing("somebody").tables()


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("smtproutes new example.com", 64, "HOSTS is missing"),
        ("smtproutes new a..b mx", 65, "domain: 'a..b' is not a domain name"),
        ("smtproutes new x.example USEDNS mx", 65, "USEDNS must stand alone"),
        ("smtproutes new there.example mx", 65, "the route there.example is there already; `smtproutes edit"),
        ("smtproutes edit gone.example mx", 66, "there is no route gone.example; `smtproutes list`"),
        ("smtproutes delete there.example gone.example", 66, "nothing was deleted"),
        ("smtproutes import ../gatepost.toml", 64, "give the plain name of a file"),
        ("smtproutes import none.txt", 66, "cannot be read"),
        ("destconfig new x.example --max-connections 0", 65, "max_connections: must be greater than or equal to 1"),
        ("destconfig new x.example --recipient-limit 5", 65, "recipient_limit needs recipient_minutes"),
        ("destconfig new x.example --bounce-profile Gone", 65, "there is no [[bounce_profile]] of the name Gone"),
        ("destconfig new DEFAULT", 65, "is there already"),
        ("destconfig delete DEFAULT", 65, "cannot be deleted"),
        ("destconfig edit DEFAULT --reset speed", 65, "there is no key speed; there are: domain, max-connections"),
        ("bounceconfig edit Default --name Other", 65, "Default keeps its name"),
        ("unsubscribe new somebody", 65, "'somebody' is not user@domain"),
        ("unsubscribe edit gone@x.example --entry a@x.example", 66, "there is no entry gone@x.example"),
        ("deliveryconfig setup --port 99999", 65, "port: must be less than or equal to 65535"),
        ("altsrchost new @x.example Gone", 65, "there is no [[interface]] or [[interface_group]]"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    machine: Operating, line: str, status: int, reason: str
) -> None:
    await machine.ran("smtproutes new there.example mx.example.com")
    before = machine.tables()
    found = await machine.ran(line)
    assert found.status == status
    assert reason in found.error
    assert machine.tables() == before


async def test_a_row_in_use_may_go_but_a_commit_would_refuse(machine: Operating) -> None:
    await machine.ran("bounceconfig new Bulk --max-retries 3")
    await machine.ran("destconfig new example.com --bounce-profile Bulk")
    found = json.loads((await machine.ran("bounceconfig delete Bulk --json")).output)
    (warning,) = found["warnings"]
    assert warning.startswith("commit will refuse: destination[1].bounce_profile: example.com: there is no")


async def test_a_key_goes_back_to_its_default(machine: Operating) -> None:
    await machine.ran("destconfig default --max-connections 9 --tls required")
    await machine.ran("destconfig new example.com --max-connections 5 --dane no")
    await machine.ran("destconfig edit example.com --reset max-connections")
    assert machine.tables()["destination"][1] == {"domain": "example.com", "dane": False}
    detail = json.loads((await machine.ran("destconfig detail example.com --json")).output)
    assert detail["destination"]["max_connections"] == 9
    assert detail["destination"]["tls"] == "required"
    assert detail["written"] == ["domain", "dane"]


async def test_the_worked_examples_of_bounce_profiles_can_be_set(machine: Operating) -> None:
    line = "bounceconfig new Short --initial-retry-s 60 --max-retry-s 60 --max-retries 2 --max-in-queue-s 100"
    assert (await machine.ran(line)).status == 0
    assert machine.tables()["bounce_profile"] == [
        {"name": "Short", "max_retries": 2, "max_in_queue_s": 100, "initial_retry_s": 60, "max_retry_s": 60}
    ]


async def test_a_place_before_another_row(machine: Operating) -> None:
    await machine.ran("altsrchost new @a.example auto")
    await machine.ran("altsrchost new 10.0.0.0/8 auto --before @a.example")
    assert (await machine.ran("altsrchost print")).output.splitlines()[1:] == ["10.0.0.0/8  auto", "@a.example  auto"]
    await machine.ran("altsrchost move 10.0.0.0/8 2")
    assert [row["match"] for row in machine.tables()["alt_source"]] == ["@a.example", "10.0.0.0/8"]


async def test_clear_leaves_what_is_always_there(machine: Operating) -> None:
    await machine.ran("destconfig default --max-connections 9")
    await machine.ran("destconfig new example.com")
    assert (await machine.ran("destconfig clear")).output == "1 destination was deleted; pending until `commit`."
    assert machine.tables()["destination"] == [{"domain": "DEFAULT", "max_connections": 9}]


@pytest.mark.parametrize(
    ("role", "line", "status"),
    [
        (Role.GUEST, "smtproutes list", 0),
        (Role.GUEST, "smtproutes print", 0),
        (Role.SUPPORT, "destconfig detail DEFAULT", 0),
        (Role.GUEST, "smtproutes export x.txt", 77),
        (Role.SUPPORT, "smtproutes new a.example mx", 77),
        (Role.OPERATOR, "smtproutes new a.example mx", 0),
        (Role.OPERATOR, "interfaceconfig new Out 127.0.0.1 out.example", 77),
        (Role.OPERATOR, "interfaceconfig groups list", 0),
    ],
)
async def test_rights(machine: Operating, role: Role, line: str, status: int) -> None:
    assert (await machine.ran(line, caller=Caller("x", role))).status == status


async def test_names_that_there_are_complete_an_operation(machine: Operating) -> None:
    def complete(text: str) -> list[str]:
        return machine.executor.registry.complete(text, machine.appliance, LOCAL)

    assert complete("destconfig ed") == ["edit"]
    assert complete("destconfig edit D") == ["DEFAULT"]
    assert {"--max-connections", "--reset"} <= set(complete("destconfig edit DEFAULT --"))
    assert complete("interfaceconfig groups n") == ["new"]


async def test_a_profile_whose_name_is_left_to_the_default_is_written_with_it(tmp_path: Path) -> None:
    machine = Operating(tmp_path, TEXT + "[[bounce_profile]]\nmax_retries = 7\n")
    assert "[Default]\nmax_retries = 7" in (await machine.ran("bounceconfig print")).output
    assert (await machine.ran("bounceconfig export p.txt")).error == ""
    assert (await machine.ran("bounceconfig import p.txt")).error == ""
    assert machine.tables()["bounce_profile"] == [{"name": "Default", "max_retries": 7}]


async def test_an_entry_that_is_one_word_is_edited_like_a_row(machine: Operating) -> None:
    for entry in ("a@x.example", "b@x.example"):
        await machine.ran(f"unsubscribe new {entry}")
    assert (await machine.ran("unsubscribe edit a@x.example --entry @y.example")).status == 0
    assert machine.tables()["unsubscribe"]["entries"] == ["@y.example", "b@x.example"]
    found = await machine.ran("unsubscribe edit b@x.example --entry @Y.example")
    assert (found.status, "is there already" in found.error) == (65, True)
