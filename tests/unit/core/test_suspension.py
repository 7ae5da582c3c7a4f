"""What an operator has suspended."""

from pathlib import Path

import pytest

from core.errors import EX_CANTCREAT, EX_CONFIG, GatepostError
from core.suspension import Suspended


def test_orders_outlive_the_process(tmp_path: Path) -> None:
    state = tmp_path / "state" / "gateway-0.json"
    one = Suspended(state)
    assert "In" not in one
    one.suspend(["In", "Out"])
    one.resume(["Out", "Other"])
    again = Suspended(state)
    assert ("In" in again, "Out" in again) == (True, False)


@pytest.mark.parametrize("damaged", [b"{", b'["\xff"]'])
def test_what_cannot_be_read_does_not_resume_by_itself(tmp_path: Path, damaged: bytes) -> None:
    """A gateway took a damaged file for none, and opened its ports."""
    (tmp_path / "f").write_bytes(damaged)
    with pytest.raises(GatepostError, match="remove the file") as caught:
        Suspended(tmp_path / "f")
    assert caught.value.status == EX_CONFIG


def test_an_order_that_cannot_be_written_down_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    with pytest.raises(GatepostError) as caught:
        Suspended(tmp_path / "state" / "f")
    assert caught.value.status == EX_CONFIG
    one = Suspended(tmp_path / "f")
    (tmp_path / "f.new").mkdir()
    with pytest.raises(GatepostError, match="written down") as caught:
        one.suspend(["In"])
    assert caught.value.status == EX_CANTCREAT
    assert "In" not in one
