"""`filters`: one text, cut at its filters; in batch form and as a dialogue."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemons.filtering import FilterReader
from tests.support.golden import same_as_golden
from tests.support.operating import Operating

TEXT = """\
# the first
one: if true { no-op(); } # said of one
two! if subject == "a: if (b)" { drop(); }

# above three

three: if rcpt-count > 3 {
    quarantine('Policy');
} else { skip-filters(); }
# the end
"""


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path, filters=FilterReader(tmp_path / "gatepost.toml"))


async def filled(machine: Operating) -> Operating:
    assert (await machine.ran("filters import -", stdin=TEXT.encode())).status == 0
    return machine


async def names(machine: Operating) -> list[tuple[str, bool]]:
    listed = json.loads((await machine.ran("filters list --json")).output)
    assert all(row["valid"] for row in listed["filters"])
    return [(row["name"], row["active"]) for row in listed["filters"]]


async def test_the_table_and_the_text(machine: Operating) -> None:
    await filled(machine)
    assert (await machine.ran("filters list")).output.splitlines() == [
        "Num  Active  Valid  Name",
        "1    Y       Y      one",
        "2    N       Y      two",
        "3    Y       Y      three",
    ]
    assert (await machine.ran("filters detail 2")).output == 'two! if subject == "a: if (b)" { drop(); }'
    assert (await machine.ran("filters detail three")).output.startswith("# above three\n\nthree: if")
    assert (await machine.ran("filters export -")).output + "\n" == TEXT


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("filters delete 1", ["two", "three"]),
        ("filters delete 1-2", ["three"]),
        ("filters delete ONE,three", ["two"]),
        ("filters delete all", []),
        ("filters move three 1", ["three", "one", "two"]),
        ("filters move 1 last", ["two", "three", "one"]),
        ("filters move 1,3 two", ["one", "three", "two"]),
        ("filters move 1-2 4", ["three", "one", "two"]),
    ],
)
async def test_filters_go_and_move_with_their_comments(machine: Operating, line: str, left: list[str]) -> None:
    await filled(machine)
    assert (await machine.ran(line)).status == 0
    assert [name for name, _ in await names(machine)] == left
    text = str(machine.tables().get("filters", {}).get("text", ""))
    assert ("# the first\none:" in text) == ("one" in left)
    assert ("# above three\n\nthree:" in text) == ("three" in left)
    assert text.endswith("# the end\n")


async def test_filters_are_made_active_and_inactive(machine: Operating) -> None:
    await filled(machine)
    assert (await machine.ran("filters set all inactive")).status == 0
    assert await names(machine) == [("one", False), ("two", False), ("three", False)]
    assert (await machine.ran("filters set 1-3 active")).status == 0
    assert (await machine.ran("filters export -")).output == TEXT.replace("two!", "two:").rstrip("\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("one: if true { drop(); }", "already a filter 'one'"),
        ("drop: if true { drop(); }", "reserved word"),
        ("x: if true { dropp(); }", "there is no action 'dropp'"),
        ("x: if true { alt-src-host('Nowhere'); }", "no interface or group"),
        ("x: if true drop(); }", "expected"),
        ("nothing", "no filter in this text"),
    ],
)
async def test_what_is_wrong_is_told_and_nothing_changes(machine: Operating, text: str, reason: str) -> None:
    await filled(machine)
    refused = await machine.ran("filters new 1", stdin=text.encode())
    assert refused.status == 65
    assert reason in refused.error
    assert machine.tables()["filters"]["text"] == TEXT


async def test_a_number_that_there_is_not(machine: Operating) -> None:
    await filled(machine)
    for line in ("filters delete 4", "filters move 1 9", "filters set x active", "filters detail 2-9"):
        assert (await machine.ran(line)).status == 66, line


async def test_filters_as_they_are_on_the_screen(machine: Operating) -> None:
    answers: list[Any] = ["filters", "new", "", "seen: if header('X-Seen') { dropp(); }", "."]
    answers += ["new", "last", "# why", "seen: if header('X-Seen')", "{ drop(); }", "."]
    answers += ["new", "1", "tag: if true { insert-header('X-Tag', 'y'); }", ".", "set", "seen", "2", "detail", ""]
    answers += ["move", "2", "1", "delete", "tag", ""]
    shown = await machine.talked(*answers)
    same_as_golden(Path(__file__).parent / "golden" / "filters.txt", shown)


async def test_filters_that_are_piped_in_may_end_with_a_full_stop_as_typed_ones_do(machine: Operating) -> None:
    assert (await machine.ran("filters new", stdin=b"late: if (true) { drop(); }\n.\n")).status == 0
    assert await names(machine) == [("late", True)]
