"""tunnel.recording.scp: files are known by what passes, in any pieces, and nothing that passes hurts."""

import contextlib
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.recording.scp import HELD, ScpTap
from tunnel.recording.transfer import Lost


def _tap(*, upload: bool = True) -> tuple[ScpTap, list[dict[str, Any]]]:
    log: list[dict[str, Any]] = []
    tap = ScpTap(lambda kind, facts: log.append({"kind": kind, **facts}), upload=upload, target="captures")
    return tap, log


def _closed(log: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["path"], one["octets"], one["status"]) for one in log if one["kind"] == "file-close"]


def test_folders_times_and_files() -> None:
    tap, log = _tap()
    tap.came(b"\0")
    for said in (b"D0755 0 logs\n", b"T1 0 1 0\n", b"C0644 3 a\n", b"abc\0", b"E\n", b"C0644 0 b\n", b"\0"):
        tap.sent(said)
        tap.came(b"\0")
    assert _closed(log) == [("logs/a", 3, "ok"), ("b", 0, "ok")]
    assert log[-3]["sha256"] == hashlib.sha256(b"abc").hexdigest()


def test_a_file_that_is_refused_is_followed_by_a_line() -> None:
    tap, log = _tap()
    tap.came(b"\0")
    tap.sent(b"C0644 3 a\n")
    tap.came(b"\1scp: a: Permission denied\n")
    tap.sent(b"C0644 1 b\n")
    tap.came(b"\0")
    tap.sent(b"x\0")
    tap.came(b"\1scp: b: no space\n")
    tap.end()
    assert _closed(log) == [("a", 0, "scp: a: Permission denied"), ("b", 1, "scp: b: no space")]
    assert not any("sha256" in one for one in log)


def test_a_folder_that_is_refused_is_not_entered() -> None:
    tap, log = _tap()
    tap.came(b"\0")
    tap.sent(b"D0755 0 logs\n")
    tap.came(b"\1scp: no\n")
    tap.sent(b"C0644 0 a\n")
    tap.came(b"\0")
    tap.sent(b"\0")
    tap.came(b"\0")
    assert _closed(log) == [("a", 0, "ok")]


def test_a_source_that_could_not_read_and_a_cut_one_give_no_hash() -> None:
    tap, log = _tap(upload=False)
    tap.sent(b"\0")
    tap.came(b"C0644 3 a\n")
    tap.sent(b"\0")
    tap.came(b"ab\0\1scp: a: I/O error\n")
    tap.sent(b"\0")
    tap.came(b"C0644 3 b\n")
    tap.sent(b"\0")
    tap.came(b"a")
    tap.end()
    assert _closed(log) == [("a", 3, "scp: a: I/O error"), ("b", 1, "cut")]
    assert not any("sha256" in one for one in log)


def test_a_source_that_says_in_two_pieces_what_it_could_not_read_is_waited_for() -> None:
    """A line of which a part had come was looked at again and again, and the whole process stood still."""
    tap, log = _tap()
    tap.came(b"\0")
    tap.sent(b"C0644 3 a\n")
    tap.came(b"\0")
    tap.sent(b"abc\1scp: a: Input/")
    tap.sent(b"output error\n")
    tap.came(b"\0")
    assert _closed(log) == [("a", 3, "scp: a: Input/output error")]


def test_a_source_that_does_not_wait_is_not_followed_for_ever() -> None:
    tap, _ = _tap()
    with pytest.raises(Lost):
        tap.sent(bytes(HELD + 1))


def test_what_is_no_scp_is_lost() -> None:
    tap, _ = _tap(upload=False)
    tap.sent(b"\0")
    with pytest.raises(Lost):
        tap.came(b"uid=0(root)\n")


@given(st.integers(1, 9))
def test_the_same_log_however_the_octets_are_cut(size: int) -> None:
    logs = []
    for step in (size, 1000):
        tap, log = _tap()
        tap.came(b"\0")
        for said in (b"T1 0 1 0\n", b"C0644 30 a\n", b"abc" * 10 + b"\0", b"C0600 1 b\n", b"x\0"):
            for at in range(0, len(said), step):
                tap.sent(said[at : at + step])
            tap.came(b"\0")
        logs.append(log)
    assert logs[0] == logs[1]
    assert _closed(logs[0]) == [("a", 30, "ok"), ("b", 1, "ok")]


_PIECE = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"\0", b"C0644 4 x\n", b"D0755 0 d\n", b"E\n", b"T1 0 1 0\n", b"\1no\n", b"\2", b"abcd\0"]),
)


@given(st.booleans(), st.lists(st.tuples(st.booleans(), _PIECE), max_size=40))
def test_no_garbage_hurts(upload: bool, pieces: list[tuple[bool, bytes]]) -> None:
    tap, _ = _tap(upload=upload)
    with contextlib.suppress(Lost):
        for sent, piece in pieces:
            (tap.sent if sent else tap.came)(piece)
    tap.end()
