"""`mail.queue.donelog`: what was written is replayed, whatever stands behind it."""

import os
from pathlib import Path

import pytest

from mail.queue.donelog import DoneLog, encode, epochs, log_path, replay


def test_records_come_back_by_message_from_the_stored_epoch_on(tmp_path: Path) -> None:
    log = DoneLog(tmp_path, 5)
    log.add(1, [0, 2])
    log.begin_epoch()
    log.add(1, [1])
    log.add(9, [0])
    assert replay(tmp_path, 5) == {1: {0, 1, 2}, 9: {0}}
    assert replay(tmp_path, 6) == {1: {1}, 9: {0}}
    log.sync()
    log.retire(6)
    assert epochs(tmp_path) == [6]
    log.close()


def test_a_torn_end_is_passed_over(tmp_path: Path) -> None:
    data = encode(1, 0) + encode(2, 0)
    for cut in range(len(data)):
        log_path(tmp_path, 1).write_bytes(data[:cut] + b"\0" * (cut % 3))
        assert set(replay(tmp_path, 1)) == {mid for mid in (1, 2) if cut >= 16 * mid}


def test_a_log_that_cannot_be_written_keeps_its_records_and_writes_them_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DoneLog(tmp_path, 1)
    real, room = os.write, 20

    def full(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = real(fd, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", full)
    log.add(1, [0, 1, 2])
    assert "No space" in log.broken or "no space" in log.broken
    log.add(2, [0])
    assert not log.retry()
    assert replay(tmp_path, 1) == {1: {0}}
    room = 10**6
    assert log.retry()
    assert not log.broken
    assert replay(tmp_path, 1) == {1: {0, 1, 2}, 2: {0}}
    log.close()


def test_what_could_not_be_written_goes_whole_into_the_next_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DoneLog(tmp_path, 1)
    real, room = os.write, 7
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:room]))
    log.add(1, [0])
    assert log.broken
    monkeypatch.setattr(os, "write", real)
    log.begin_epoch()
    assert log.retry()
    assert replay(tmp_path, 2) == {1: {0}}
    log.close()


def test_an_epoch_is_never_used_twice(tmp_path: Path) -> None:
    DoneLog(tmp_path, 1).close()
    with pytest.raises(FileExistsError):
        DoneLog(tmp_path, 1)
