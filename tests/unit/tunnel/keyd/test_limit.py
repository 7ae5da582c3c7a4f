"""tunnel.keyd.limit: tries of an hour, whatever is restarted and whatever the clock does."""

from pathlib import Path

import pytest

from core.errors import GatepostError
from tests.support.keyd import Clock
from tunnel.keyd.limit import HourlyLimits


def _limits(path: Path, now: Clock) -> HourlyLimits:
    return HourlyLimits(path, {"wrong seed": 3}, now)


def test_the_one_too_many_waits_until_the_first_is_an_hour_old(tmp_path: Path) -> None:
    now = Clock()
    limits = _limits(tmp_path / "limits.json", now)
    for _ in range(3):
        limits.check("wrong seed", "a-1", "too many")
        limits.count("wrong seed", "a-1")
        now.at += 600
    with pytest.raises(GatepostError, match="too many: 3 an hour are allowed; wait 30 minutes") as caught:
        limits.check("wrong seed", "a-1", "too many")
    assert caught.value.status == 75
    limits.check("wrong seed", "b-2", "too many")
    now.at += 1801
    limits.check("wrong seed", "a-1", "too many")
    assert limits.left("wrong seed", "a-1") == 1


def test_a_restart_buys_no_tries(tmp_path: Path) -> None:
    now = Clock()
    for _ in range(3):
        _limits(tmp_path / "limits.json", now).count("wrong seed", "a-1")
    assert _limits(tmp_path / "limits.json", now).left("wrong seed", "a-1") == 0
    assert (tmp_path / "limits.json").stat().st_mode & 0o077 == 0


def test_a_clock_that_was_ahead_locks_nobody_out_for_longer_than_an_hour(tmp_path: Path) -> None:
    now = Clock()
    limits = _limits(tmp_path / "limits.json", now)
    now.at += 365 * 86400
    for _ in range(3):
        limits.count("wrong seed", "a-1")
    now.at -= 365 * 86400
    assert limits.left("wrong seed", "a-1") == 0
    now.at += 3601
    assert limits.left("wrong seed", "a-1") == 3


def test_names_are_bounded(tmp_path: Path) -> None:
    now = Clock()
    (tmp_path / "limits.json").write_text(
        '{"wrong seed": {' + ", ".join(f'"s-{n}": [{now.at}]' for n in range(5000)) + "}}"
    )
    with pytest.raises(GatepostError, match="too many names"):
        _limits(tmp_path / "limits.json", now).count("wrong seed", "one-more")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_bytes(b"\xff")
    with pytest.raises(GatepostError, match=r"limits\.json: damaged") as caught:
        _limits(tmp_path / "limits.json", Clock())
    assert caught.value.status == 78
