"""A section per row: what is written is read again, and every fault has its line."""

from hypothesis import given
from hypothesis import strategies as st

from core.schema import parts_of
from ops.formats.ini import Sections, flat

PROFILES = Sections("Bounce profiles", "name")
KEY = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True).filter(lambda key: key != "name")
NAME = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
ROW = st.builds(lambda name, rest: {"name": name, **rest}, NAME, st.dictionaries(KEY, TEXT, max_size=5))


@given(st.lists(ROW, max_size=5))
def test_rows_survive_the_file(rows: list[dict[str, str]]) -> None:
    parsed = PROFILES.parse(PROFILES.format(rows))
    assert parsed.faults == ()
    assert [dict(entry.values) for entry in parsed.entries] == rows


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    assert all(fault.startswith("line ") for fault in PROFILES.parse(text).faults)


def test_values_are_written_as_they_are_read_and_sections_within_a_row_by_dots() -> None:
    row = {"name": "a", "on": True, "hosts": ["x", "y"], "policy": {"most": 3}}
    assert PROFILES.format([row]).splitlines()[2:] == ["[a]", "on = yes", "hosts = x, y", "policy.most = 3"]
    assert dict(flat(row))["policy.most"] == 3


def test_every_fault_is_told_with_its_line() -> None:
    parsed = PROFILES.parse("x = 1\n[a]\nb = 1\nb = 2\njunk\n; note\n")
    assert parsed.faults == (
        "line 1: x stands before the first [NAME]",
        "line 4: b stands in line 3 already",
        "line 5: [NAME] or KEY = VALUE is needed (found 'junk')",
    )
    assert parsed.entries[0].at("b") == 3


def test_words_of_a_list_that_would_be_misread_are_quoted() -> None:
    for words in (["a,b", "c"], [" x"], ["x\u2028y", "z"], ['"q"'], ["[x"], [""]):
        text = PROFILES.format([{"name": "a", "hosts": words}])
        assert len(text.splitlines()) == 4, text
        assert parts_of(str(PROFILES.parse(text).entries[0].values["hosts"])) == words
