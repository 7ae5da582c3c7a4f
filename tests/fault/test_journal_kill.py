"""kill -9 at every named point: what was acknowledged is there after the restart, once."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r'killpoint\("((?:journal|content|ids)\.[a-z-]+)"\)')
MODULES = ("core/content.py", "core/ids.py", "core/journal")


def named_points() -> list[str]:
    """List the points in the code of the journal, so that a new one is killed at without anybody remembering."""
    files = [
        file for name in MODULES for file in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))
    ]
    return sorted({point for file in files for point in NAMED.findall(file.read_text())})


def live(directory: Path, seed: int, kill_at: str = "") -> tuple[int, list[int]]:
    """Run one life of the child; give how it ended and what it said was accepted."""
    environment = {**os.environ, "GATEPOST_KILL_AT": kill_at}
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.journal_child", str(directory), str(seed)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode in (0, -9), run.stderr
    return run.returncode, [int(line.split()[1]) for line in run.stdout.splitlines()]


def imported(directory: Path) -> Counter[int]:
    text = (directory / "imported").read_text() if (directory / "imported").exists() else ""
    return Counter(int(word) for word in text.split() if ":" not in word)


def test_the_points_that_matter_have_names() -> None:
    assert {"journal.written", "journal.synced", "journal.marked", "journal.releasing"} <= set(named_points())


@pytest.mark.slow
@pytest.mark.parametrize("point", named_points())
def test_killed_at_a_named_point_nothing_acknowledged_is_lost_or_doubled(point: str, tmp_path: Path) -> None:
    _, accepted = live(tmp_path, 0, "journal.written:9")
    killed = 0
    for life, passage in enumerate((1, 2, 7), start=1):
        status, told = live(tmp_path, life, f"{point}:{passage}")
        killed += status == -9
        accepted += told
    assert killed, f"no life passed {point}"
    status, told = live(tmp_path, 99)
    accepted += told
    assert status == 0
    assert len(set(accepted)) == len(accepted), "a MID was given twice"
    times = imported(tmp_path)
    assert set(times.values()) == {1}
    assert set(accepted) <= set(times)
