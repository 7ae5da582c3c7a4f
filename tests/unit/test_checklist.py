"""docs/protocol/smtp-checklist.md names tests that exist, and every row names one or says that there is none."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "protocol" / "smtp-checklist.md"
DIALOGS = ROOT / "tests" / "conformance" / "dialogs"
ROWS = re.findall(r"^\| (?!rule \||class \||---)(.+?) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
NAMED = sorted({name for _, tests in ROWS for name in re.findall(r"`([^`]+)`", tests)})


@pytest.mark.parametrize("name", NAMED)
def test_what_the_checklist_names_exists(name: str) -> None:
    file, _, test = name.partition("::")
    if "/" not in file:
        assert list(DIALOGS.glob(f"{name}.dialog"))
        return
    text = (ROOT / file).read_text()
    assert f"def {test}(" in text if test else "def test_" in text


def test_every_row_names_its_tests_or_says_that_there_is_none() -> None:
    assert len(ROWS) >= 56
    assert [row for row, tests in ROWS if "`" not in tests and "*Not yet*" not in tests] == []
    numbers = [int(row.partition(".")[0]) for row, _ in ROWS if re.match(r"\d+\. ", row)]
    assert numbers == list(range(1, 18))


def test_every_dialog_stands_in_the_checklist_or_is_no_row_of_it() -> None:
    """Dialogs of rules that are our own; a new one belongs into the page or here."""
    ours = {
        "extension-out-of-place",
        "extension-verbs",
        "session-closes",
        "session-fails",
        "session-replies",
    }
    shown = {path.stem for name in NAMED if "/" not in name for path in DIALOGS.glob(f"{name}.dialog")}
    assert {path.stem for path in DIALOGS.glob("*.dialog")} - shown == ours
