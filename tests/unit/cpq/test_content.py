from collections.abc import Iterator
from pathlib import Path

import pytest

from core.disk import Disk
from cpq.content import ContentFolder


def test_content_is_written_and_read_back(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path / "content")
    assert folder.write("a" * 24, [b"one\r\n", b"", b"\x00two"]) == 9
    assert b"".join(folder.chunks("a" * 24)) == b"one\r\n\x00two"
    assert folder.read("a" * 24, 3) == b"one"


def test_a_name_is_written_once(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    folder.write("x01", [b"kept"])
    with pytest.raises(FileExistsError):
        folder.write("x01", [b"lost"])
    assert folder.read("x01", 10) == b"kept"


def test_what_failed_half_way_leaves_no_file(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise OSError(5, "gone")

    folder = ContentFolder(tmp_path)
    with pytest.raises(OSError, match="gone"):
        folder.write("x01", chunks())
    assert not folder.path("x01").exists()


def test_the_file_is_synced_before_it_is_closed_and_the_directory_afterwards(tmp_path: Path) -> None:
    calls: list[str] = []

    class Watched(Disk):
        def write(self, fd: int, buffers: object, offset: int) -> int:
            calls.append("write")
            return super().write(fd, buffers, offset)  # type: ignore[arg-type]

        def fdatasync(self, fd: int) -> None:
            calls.append("sync")
            super().fdatasync(fd)

        def fsync_directory(self, directory: Path) -> None:
            calls.append(f"directory {directory.name}")
            super().fsync_directory(directory)

    folder = ContentFolder(tmp_path, Watched())
    calls.clear()
    folder.write("x01", [b"a"])
    folder.write("y01", [b"b"])
    folder.sync(["x01", "y01"])
    assert calls[1:] == ["write", "sync", "write", "sync", "directory 01"]


def test_removal_is_repeatable_and_the_sweep_takes_what_no_row_names(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    for name in ("x01", "y02", "z02"):
        folder.write(name, [b"x"])
    folder.remove(["x01", "never-there"])
    folder.remove(["x01"])
    assert folder.sweep({"y02"}) == 1
    assert folder.path("y02").exists()
    assert not folder.path("z02").exists()
