"""`aliasconfig` in batch form and as a dialogue."""

import json
from pathlib import Path

from tests.support.golden import same_as_golden
from tests.support.operating import Operating

FILE = b"admin: administrator@example.test\n[ example.test, .sub.example.test ]\nhelp, care: bob@example.test, team\n"


async def test_an_alias_is_made_changed_and_taken_away(tmp_path: Path) -> None:
    machine = Operating(tmp_path)
    assert (await machine.ran("aliasconfig new team@example.test eve@far.example /dev/null")).status == 0
    assert (await machine.ran("aliasconfig new help@example.test bob@example.test,team")).status == 0
    assert machine.tables()["alias"] == [
        {"alias": "team@example.test", "to": ["eve@far.example", "/dev/null"]},
        {"alias": "help@example.test", "to": ["bob@example.test", "team"]},
    ]
    warned = await machine.ran("aliasconfig delete team@example.test")
    assert "commit will refuse" in warned.output
    assert "there is no alias 'team'" in warned.output
    assert (await machine.ran("aliasconfig edit help@example.test bob@example.test")).status == 0
    assert machine.tables()["alias"] == [{"alias": "help@example.test", "to": ["bob@example.test"]}]


async def test_a_circle_is_refused_at_once(tmp_path: Path) -> None:
    machine = Operating(tmp_path)
    assert (await machine.ran("aliasconfig new a b@x.example")).status == 0
    refused = await machine.ran("aliasconfig new b@x.example a")
    assert refused.status == 65
    assert "in a circle: a to b@x.example to a" in refused.error


async def test_the_file_of_the_model_comes_in_and_goes_out(tmp_path: Path) -> None:
    machine = Operating(tmp_path)
    refused = await machine.ran("aliasconfig import -", stdin=FILE)
    assert refused.status == 65
    assert "there is no alias 'team'" in refused.error
    assert "alias" not in machine.tables()
    assert (await machine.ran("aliasconfig import -", stdin=FILE + b"team: eve@far.example\n")).status == 0
    out = await machine.ran("aliasconfig export -")
    before = machine.tables()
    assert (await machine.ran("aliasconfig import -", stdin=out.output.encode())).status == 0
    assert machine.tables() == before
    listed = json.loads((await machine.ran("aliasconfig list --json")).output)
    assert [row["alias"] for row in listed["alias"]][:2] == ["admin", "help@example.test"]


async def test_aliasconfig_as_it_is_on_the_screen(tmp_path: Path) -> None:
    shown = await Operating(tmp_path).talked(
        "aliasconfig",
        "new",
        "help me",
        "help@example.test",
        "nobody here",
        "bob@example.test, frank@far.example",
        "print",
        "delete",
        "1",
        "y",
        "",
    )
    same_as_golden(Path(__file__).parent / "golden" / "aliasconfig.txt", shown)
