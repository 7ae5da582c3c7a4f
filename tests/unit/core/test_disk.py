import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.disk import IOV_MAX, Disk, read_file, read_octets, read_text, replace_file, share, used_percent


def test_more_buffers_than_one_call_takes_are_written_whole(tmp_path: Path) -> None:
    disk = Disk()
    fd = disk.open(tmp_path / "f", create=True, write=True)
    buffers = [b"%d," % number for number in range(IOV_MAX * 2)]
    assert disk.write(fd, buffers, 10) == len(b"".join(buffers))
    assert disk.read(fd, 10**6, 10) == b"".join(buffers)
    disk.close(fd)


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    fd = disk.open(tmp_path / "f", create=True, write=True)
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: os.pwrite(fd, buffers[0], offset))
    disk.write(fd, (b"abc", b"def", b"ghi"), 0)
    assert disk.read(fd, 100, 0) == b"abcdefghi"
    disk.close(fd)


def test_replace_leaves_one_file_with_the_new_content(tmp_path: Path) -> None:
    disk = Disk()
    (tmp_path / "f.new").write_bytes(b"draft of a process that died")
    replace_file(disk, tmp_path / "f", b"one")
    replace_file(disk, tmp_path / "f", b"two", mode=0o600)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert read_file(disk, tmp_path / "f") == b"two"
    assert os.listdir(tmp_path) == ["f"]
    assert read_file(disk, tmp_path / "none") == b""


def test_a_lock_is_exclusive_until_it_is_closed(tmp_path: Path) -> None:
    disk = Disk()
    held = disk.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(tmp_path / "lock")
    disk.close(held)
    disk.close(disk.lock(tmp_path / "lock"))


def test_a_map_is_shared(tmp_path: Path) -> None:
    disk = Disk()
    writer = disk.map(tmp_path / "m", 4096, write=True)
    reader = disk.map(tmp_path / "m", 4096)
    writer[10:13] = b"abc"
    assert reader[9:14] == b"\0abc\0"
    writer.close()
    reader.close()
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(OSError, match="short"):
        disk.map(tmp_path / "short", 4096)


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    Disk().make_directory(tmp_path / "a" / "b")
    Disk().make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_mapping_has_its_blocks_so_that_a_full_disk_ends_no_process(tmp_path: Path) -> None:
    """A store into a hole is a SIGBUS when the disk is full."""
    Disk().map(tmp_path / "mark", 4096, write=True)
    facts = (tmp_path / "mark").stat()
    assert facts.st_size == 4096
    assert facts.st_blocks * 512 >= 4096


def test_of_a_large_disk_no_more_is_kept_free_than_of_a_small_one() -> None:
    assert share(0.05, 20 << 30) == 1 << 30
    assert share(0.05, 4 << 40) == 2 << 30
    assert used_percent(1 << 30, 20 << 30) == 95.0
    assert used_percent(100 << 30, 4 << 40) == 0.0
    assert used_percent(2 << 30, 4 << 40) == 95.0
    assert used_percent(0, 0) == 0.0


@pytest.mark.parametrize("read", [read_octets, read_text])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link", "."):
        with pytest.raises(OSError, match="it is not a file") as caught:
            read(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)
    (tmp_path / "text").write_bytes(b"one\r\n")
    assert read(tmp_path / "text") in (b"one\r\n", "one\n")
