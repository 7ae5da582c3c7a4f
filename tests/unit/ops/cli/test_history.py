"""`ops.cli.history`: lines that come back in the next session, and those that must not."""

import stat
from pathlib import Path

import pytest

from ops.cli.history import KEPT, HistoryFile, remembered


def test_lines_come_back_in_the_next_session_and_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "history" / "ann"
    first = HistoryFile(path)
    first.add("status")
    first.add("tophosts --json")
    assert HistoryFile(path).lines() == ["status", "tophosts --json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_file_is_bounded(tmp_path: Path) -> None:
    history = HistoryFile(tmp_path / "ann")
    for number in range(3 * KEPT):
        history.add(f"status {number}")
    kept = history.lines()
    assert len(kept) == KEPT
    assert kept[-1] == f"status {3 * KEPT - 1}"
    assert len((tmp_path / "ann").read_text().splitlines()) <= 2 * KEPT


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("status detail", True),
        ("sshconfig login --age-days 90", True),
        ("destconfig edit x --password hunter2", False),
        ("logconfig edit x --scp-passphrase=hunter2", False),
        ("x --bind_secret y", False),
        (" status", False),
        ("", False),
        ("x" * 1001, False),
        ("status\x1b[2J", False),
    ],
)
def test_secrets_and_what_was_meant_to_be_forgotten_are_not_kept(line: str, kept: bool) -> None:
    assert remembered(line) is kept


def test_a_folder_that_cannot_be_written_costs_nobody_the_session(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = HistoryFile(tmp_path / "file" / "ann")
    history.add("status")
    assert history.lines() == []
