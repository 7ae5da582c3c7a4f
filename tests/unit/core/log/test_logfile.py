"""Log files that several processes write: heads and ends, roll-over without a lost or doubled line, faults."""

import fcntl
import multiprocessing
import os
import re
import threading
from pathlib import Path

import pytest

from core.log.file import LogFile, head_of, saved_files
from core.log.sink import Sink
from core.maillog import MailLog

HEAD = head_of("1.2", "4711-ABC")
LINES = 4_000


def _text(*files: Path) -> str:
    return "".join(file.read_text() for file in files)


def test_a_file_begins_with_its_head_and_a_saved_one_has_an_end(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "mail.current", head=HEAD)
    assert file.write(b"one\n").octets == 4
    saved = file.roll()
    assert saved is not None
    assert re.fullmatch(r"mail\.@\d{8}T\d{15}\.s", saved.name)
    lines = [line.split(" Info: ")[-1] for line in saved.read_text().splitlines()]
    assert lines[:2] == ["Begin Logfile", "Version: 1.2 SN: 4711-ABC"]
    assert re.fullmatch(r"Time offset from UTC: -?\d+ seconds", lines[2])
    assert lines[3:] == ["one", "End Logfile"]
    assert (tmp_path / "mail.current").read_text().count("\n") == 3


def test_a_file_with_nothing_but_its_head_is_not_rolled_over(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "mail.current", head=HEAD)
    assert file.save() is None
    file.write(b"one\n")
    assert file.save() is not None
    assert file.save() is None
    assert len(saved_files(tmp_path / "mail.current")) == 1


def test_who_wrote_before_goes_on_in_the_new_file(tmp_path: Path) -> None:
    one, two = (LogFile(tmp_path / "mail.current", head=HEAD) for _ in range(2))
    one.write(b"one\n")
    two.write(b"two\n")
    saved = two.roll()
    one.write(b"three\n")
    assert saved is not None
    assert "three" not in saved.read_text()
    assert "three\n" in (tmp_path / "mail.current").read_text()


def _write_many(path: str, number: int) -> None:
    log = MailLog.over([Sink(LogFile(Path(path), head=HEAD, max_bytes=64 * 1024, keep=1000), 3)])
    for n in range(LINES):
        log.info(f"writer {number} line {n:05d} {'x' * 60}")
        if n % 7 == 0:
            log.flush()
    log.close()


def test_no_line_is_lost_or_doubled_while_processes_roll_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mail.current"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(path), n)) for n in range(3)]
    for writer in writers:
        writer.start()
    by_order = LogFile(path, head=HEAD, keep=1000)
    while any(writer.is_alive() for writer in writers):
        by_order.save()
        writers[0].join(0.05)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    files = [*saved_files(path), path]
    assert len(files) > 5
    seen = re.findall(r"Info: writer (\d) line (\d{5}) x{60}\n", _text(*files))
    assert len(seen) == len(set(seen)) == 3 * LINES
    for file in files[:-1]:
        text = file.read_text()
        assert text.count("Begin Logfile") == text.count("End Logfile") == 1
        assert text.endswith("Info: End Logfile\n")


def test_the_last_lines_of_a_process_wait_for_a_roll_over_that_is_under_way(tmp_path: Path) -> None:
    """They were given up at once, and nobody was told."""
    path = tmp_path / "mail.current"
    log = MailLog.over([Sink(LogFile(path), 3)])
    log.info("first")
    log.flush()
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        log.info("last")
        release = threading.Timer(0.05, fcntl.flock, (holder, fcntl.LOCK_UN))
        release.start()
        log.close()
        release.join()
    assert path.read_text().endswith("Info: last\n")


def test_last_lines_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "mail.current"
    log = MailLog.over([Sink(LogFile(path), 3)])
    log.info("first")
    log.flush()
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        log.info("last")
        log.close()
    assert log.lost == 1


def test_oldest_files_beyond_those_kept_go(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "mail.current", keep=2)
    for n in range(4):
        file.write(b"%d\n" % n)
        file.roll()
    assert _text(*saved_files(file.path)) == "2\n3\n"


def test_a_line_cut_by_a_full_disk_is_ended_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line stood in the middle of the rest of the one that did not fit."""
    write, room = os.write, [6]

    def full(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = write(file, bytes(data)[: room[0]])
        room[0] -= count
        return count

    file = LogFile(tmp_path / "mail.current")
    file.write(b"zero\n")
    monkeypatch.setattr(os, "write", full)
    written = file.write(b"one\ntwo\n")
    monkeypatch.undo()
    assert written.octets == 6
    assert written.fault is not None
    file.write(b"three\n")
    assert file.path.read_text() == "zero\none\ntw\nthree\n"


def test_lost_lines_are_counted_in_the_log_itself(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in the way")
    sink = Sink(LogFile(tmp_path / "logs" / "mail.current"), 3)
    log = MailLog.over([sink])
    log.info("one")
    log.info("two")
    log.flush()
    assert log.lost == 2
    (tmp_path / "logs").unlink()
    log.info("three")
    log.flush()
    lines = (tmp_path / "logs" / "mail.current").read_text().splitlines()
    assert lines[0].endswith("2 lines of this log were lost")
    assert lines[1].endswith("Info: three")


def test_lines_wait_while_another_process_holds_the_file(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.current")
    log.warning("one")
    with (tmp_path / "mail.current").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        log.warning("two")
        assert "two" not in held.read()
    log.warning("three")
    assert re.findall(r"Warning: (\w+)\n", (tmp_path / "mail.current").read_text()) == ["one", "two", "three"]


@pytest.mark.parametrize("kind", ["pipe", "link", "link to nothing", "folder"])
def test_what_is_no_file_of_its_own_is_neither_written_nor_waited_for(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "mail.current", tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_text("not a log\n")
    sink = Sink(LogFile(path, head=HEAD), 3)
    sink.lines.append("one\n")
    sink.flush()
    assert sink.lost == 1
    assert not other.exists() or other.read_text() == "not a log\n"
    path.rmdir() if kind == "folder" else path.unlink()
    sink.lines.append("two\n")
    sink.flush()
    assert path.read_text().endswith("Warning: 1 lines of this log were lost\ntwo\n")


def test_an_old_file_that_cannot_be_removed_does_not_keep_those_after_it(tmp_path: Path) -> None:
    (tmp_path / "mail.@0.s").mkdir()
    file = LogFile(tmp_path / "mail.current", keep=2)
    for _ in range(5):
        file.write(b"one\n")
        assert file.roll() is not None
    assert len(saved_files(tmp_path / "mail.current")) == 3
