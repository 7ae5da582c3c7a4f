"""Percentages come from the difference of two looks; what cannot be read is left out."""

import os
from pathlib import Path

import pytest

from core.load import ProcessLoad, SystemLoad, cpu_times, disk_busy_ms

STAT = "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1\n"


def test_waiting_for_a_disk_is_not_busy() -> None:
    assert cpu_times("cpu  10 2 3 100 50 1 1 0 9 9\n") == (17, 167)


def test_another_text_is_refused() -> None:
    with pytest.raises(ValueError, match="/proc/stat"):
        cpu_times("intr 5\n")


def test_a_disk_is_found_by_its_number() -> None:
    text = "   8       0 sda 1 2 3 4 5 6 7 8 9 1234 11 12\n 254       0 vda 1 2 3 4 5 6 7 8 9 77 11 12\n"
    assert disk_busy_ms(text, (254, 0)) == 77
    assert disk_busy_ms(text, (9, 9)) is None


def test_gauges_are_about_the_time_between_two_looks(tmp_path: Path) -> None:
    (proc := tmp_path / "proc").mkdir()
    device = tmp_path.stat().st_dev
    line = f"{os.major(device)} {os.minor(device)} vda 1 2 3 4 5 6 7 8 9 {{busy}} 11 12\n"
    load = SystemLoad(tmp_path, tmp_path, proc)
    (proc / "stat").write_text(STAT.format(busy=100, idle=900))
    (proc / "diskstats").write_text(line.format(busy=0))
    load.sample()
    assert "total_utilization" not in load.gauges()
    (proc / "stat").write_text(STAT.format(busy=175, idle=925))
    (proc / "diskstats").write_text(line.format(busy=10**9))
    load.sample()
    gauges = load.gauges()
    assert gauges["total_utilization"] == 75
    assert gauges["disk_utilization"] == 100  # never more
    assert 0 <= int(gauges["log_used"]) <= 100
    assert gauges["log_available"] > 0


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    load = SystemLoad(tmp_path, tmp_path / "nowhere", tmp_path / "no-proc")
    load.sample()
    load.sample()
    assert set(load.gauges()) == {"cpu_utilization"}


def test_work_of_this_process_is_seen() -> None:
    load = ProcessLoad()
    load.sample()
    sum(n * n for n in range(2_000_000))
    load.sample()
    assert int(load.gauges()["cpu_utilization"]) > 0
