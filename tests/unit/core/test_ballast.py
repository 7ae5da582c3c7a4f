"""core.ballast: room that is really there when the disk is full, and is laid in again when there is room."""

import os
from pathlib import Path

import pytest

from core.ballast import Ballast
from tests.support.volume import MEBIBYTE, fill, mounted, on_a_volume


@on_a_volume
def test_what_is_given_up_can_be_written(tmp_path: Path) -> None:
    with mounted(tmp_path, mebibytes=16) as volume:
        ballast = Ballast(volume.place / "ballast", MEBIBYTE)
        ballast.lay()
        fill(volume.place / "filler")
        with pytest.raises(OSError, match="No space"):
            (volume.place / "more").write_bytes(os.urandom(MEBIBYTE // 2))
        assert ballast.drop()
        (volume.place / "more").write_bytes(os.urandom(MEBIBYTE // 2))
        ballast.lay()
        assert not (volume.place / "ballast").exists(), "there is no room for it yet"
        (volume.place / "filler").unlink()
        ballast.lay(left=MEBIBYTE)
        assert (volume.place / "ballast").stat().st_size == MEBIBYTE


def test_without_one_nothing_is_given_up(tmp_path: Path) -> None:
    assert not Ballast(tmp_path / "ballast", MEBIBYTE).drop()
    Ballast(tmp_path / "ballast", 0).lay()
    Ballast(tmp_path / "missing" / "ballast", MEBIBYTE).lay()
    assert list(tmp_path.iterdir()) == []
