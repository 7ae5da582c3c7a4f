"""The checklists of docs/protocol name tests that exist, and every row names one or says that there is none."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "protocol" / "smtp-checklist.md"
DIALOGS = ROOT / "tests" / "conformance" / "dialogs"
ROWS = re.findall(r"^\| (?!rule \||class \||---)(.+?) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
REMOTE = ROOT / "docs" / "protocol" / "remote-access-checklist.md"
HEADS = r"requirement \||wish \||trap \||point \||program \||the firewall \||attack \||bar \||---"
REMOTE_ROWS = re.findall(rf"^\| (?!{HEADS})(.+?) \| (.+?) \| (.+) \|$", REMOTE.read_text(), re.MULTILINE)
PARITY = ROOT / "docs" / "parity.md"
PARITY_ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" |"))
    for line in PARITY.read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| the model |", "|---"))
]
VERDICTS = ("done", "better", "not yet", "not built")
NAMED = sorted({name for _, tests in ROWS for name in re.findall(r"`([^`]+)`", tests)})


def exists(name: str) -> bool:
    """Tell whether `FILE::TEST`, `FILE` or a dialog of the name is there."""
    file, _, test = name.partition("::")
    if "/" not in file:
        return any(DIALOGS.glob(f"{name}.dialog"))
    path = ROOT / file
    return path.is_file() and (f"def {test}(" if test else "def test_") in path.read_text()


@pytest.mark.parametrize("name", NAMED)
def test_what_the_checklist_names_exists(name: str) -> None:
    assert exists(name)


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


@pytest.mark.parametrize(
    "name", sorted({name for *_, tests in REMOTE_ROWS for name in re.findall(r"`(\S+::\w+)`", tests)})
)
def test_what_the_checklist_of_remote_access_names_exists(name: str) -> None:
    assert exists(name)


def test_every_row_of_remote_access_has_its_module_and_its_tests_or_says_what_is_missing() -> None:
    assert [row for row, what, tests in REMOTE_ROWS if "::" not in tests and "*Not done*" not in what + tests] == []
    paths = [name for _, what, _ in REMOTE_ROWS for name in re.findall(r"`([a-z]+(?:/[\w.]+)+)`", what)]
    assert [name for name in paths if not (ROOT / name).exists()] == []


def test_no_requirement_of_remote_access_is_left_out() -> None:
    numbers = [row.partition(".")[0] for row, *_ in REMOTE_ROWS]
    wishes = [f"I{number}" for number in range(1, 33)]
    wanted = [f"R{number}" for number in range(1, 12)] + wishes[:5] + ["I5b"] + wishes[5:]
    wanted += [f"P{number}" for number in range(1, 23)]
    assert [number for number in numbers if re.fullmatch(r"[RIP]\d+b?", number)] == wanted
    assert {number for number in numbers if number.isdigit()} == set("012345678")


def test_each_row_of_parity_has_a_verdict_and_what_is_done_names_its_tests() -> None:
    assert len(PARITY_ROWS) >= 560
    assert [row for row in PARITY_ROWS if len(row) != 4 or row[1] not in VERDICTS or not row[0]] == []
    told = [(model, tests) for model, verdict, _, tests in PARITY_ROWS if verdict in ("done", "better")]
    shown = [(model, re.findall(r"`([^`]+)`", tests)) for model, tests in told]
    assert [model for model, tests in shown if not tests] == []
    assert sorted({name for _, tests in shown for name in tests if not exists(name)}) == []
    assert [model for model, verdict, ours, _ in PARITY_ROWS if verdict == "better" and not ours] == []
    assert [model for model, verdict, ours, _ in PARITY_ROWS if verdict == "not built" and not ours] == []


def test_parity_says_how_many_rows_it_has_of_each_verdict() -> None:
    counts = [sum(verdict == one for _, verdict, *_ in PARITY_ROWS) for one in VERDICTS]
    told = ", ".join(f"{count} {verdict}" for count, verdict in zip(counts, VERDICTS, strict=True))
    assert f"{len(PARITY_ROWS)} rows: {told}." in PARITY.read_text()


def test_parity_goes_through_every_section_of_the_models_paper() -> None:
    heads = re.findall(r"^## (\d+)\. ", PARITY.read_text(), re.MULTILINE)
    assert heads == [str(number) for number in range(1, 11)]
    parts = set(re.findall(r"^### (\d+\.\d+) ", PARITY.read_text(), re.MULTILINE))
    wanted = [f"1.{n}" for n in range(1, 5)] + [f"2.{n}" for n in range(1, 32)] + [f"3.{n}" for n in range(1, 8)]
    assert [part for part in wanted if part not in parts] == []
