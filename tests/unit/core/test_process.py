"""What a process takes is told in the units of the metrics."""

import os
from pathlib import Path

from core.process import process_figures


def test_this_process_is_measured() -> None:
    figures = process_figures()
    assert figures["cpu_s"] > 0
    assert figures["memory_bytes"] > 1 << 20
    with Path(__file__).open():
        assert process_figures()["open_files"] == figures["open_files"] + 1
    assert figures["open_files_limit"] >= figures["open_files"]


def test_memory_is_pages_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("900 7 3 1 0 2 0\n")
    figures = process_figures(tmp_path)
    assert figures["memory_bytes"] == 7 * os.sysconf("SC_PAGESIZE")
    assert "open_files" not in figures
