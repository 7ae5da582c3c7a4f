"""tunnel.recording.sftp: files are known by what passes, in any pieces, and nothing that passes hurts."""

import contextlib
import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tunnel.recording.sftp import ABSURD, FILES, NOTED, PACKET, SftpTap
from tunnel.recording.transfer import Lost

READ, WRITE, APPEND, CREATE, TRUNCATE = 1, 2, 4, 8, 16


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def packet(kind: int, *fields: bytes | int) -> bytes:
    body = bytes([kind]) + b"".join(string(one) if isinstance(one, bytes) else one.to_bytes(4, "big") for one in fields)
    return string(body)


def wide(number: int) -> bytes:
    return number.to_bytes(8, "big")


def opened(number: int, path: bytes, flags: int) -> bytes:
    return packet(3, number, path, flags, 0)


def read(number: int, handle: bytes, offset: int) -> bytes:
    return string(b"\5" + number.to_bytes(4, "big") + string(handle) + wide(offset) + (32768).to_bytes(4, "big"))


def write(number: int, handle: bytes, offset: int, data: bytes) -> bytes:
    return string(b"\6" + number.to_bytes(4, "big") + string(handle) + wide(offset) + string(data))


def status(number: int, code: int) -> bytes:
    return packet(101, number, code, b"", b"")


class Log(list[dict[str, Any]]):
    def note(self, kind: str, facts: dict[str, Any]) -> None:
        self.append({"kind": kind, **facts})

    def closed(self) -> list[dict[str, Any]]:
        return [one for one in self if one["kind"] == "file-close"]


def transfer(log: Log, flags: int, *steps: tuple[bytes, bytes]) -> dict[str, Any]:
    tap = SftpTap(log.note)
    tap.sent(packet(1, 3))
    tap.came(packet(2, 3))
    tap.sent(opened(1, b"captures/x", flags))
    tap.came(packet(102, 1, b"h"))
    for ask, answer in steps:
        tap.sent(ask)
        tap.came(answer)
    tap.sent(packet(4, 99, b"h"))
    tap.came(status(99, 0))
    (closed,) = log.closed()
    return closed


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_whole_upload_and_a_whole_download_have_their_hash() -> None:
    up = transfer(
        Log(),
        WRITE | CREATE | TRUNCATE,
        (write(2, b"h", 0, b"abc"), status(2, 0)),
        (write(3, b"h", 3, b"de"), status(3, 0)),
    )
    assert (up["direction"], up["octets"], up["sha256"], up["status"]) == ("upload", 5, _sha256(b"abcde"), "ok")
    down = transfer(Log(), READ, (read(2, b"h", 0), packet(103, 2, b"abc")), (read(3, b"h", 3), status(3, 1)))
    assert (down["direction"], down["sha256"]) == ("download", _sha256(b"abc"))


def test_answers_out_of_order_are_put_in_order() -> None:
    log = Log()
    tap = SftpTap(log.note)
    tap.sent(opened(1, b"x", READ))
    tap.came(packet(102, 1, b"h"))
    tap.sent(read(2, b"h", 0) + read(3, b"h", 3) + read(4, b"h", 6))
    tap.came(status(4, 1) + packet(103, 3, b"def") + packet(103, 2, b"abc"))
    tap.sent(packet(4, 5, b"h"))
    tap.came(status(5, 0))
    assert log.closed()[0]["sha256"] == _sha256(b"abcdef")


def test_what_is_not_the_whole_file_has_no_hash() -> None:
    cases = {
        "held something before": (WRITE, (write(2, b"h", 0, b"abc"), status(2, 0))),
        "not taken": (WRITE | TRUNCATE, (write(2, b"h", 0, b"abc"), status(2, 4))),
        "holes": (WRITE | TRUNCATE, (write(2, b"h", 5, b"abc"), status(2, 0))),
        "more than once": (
            WRITE | TRUNCATE,
            (write(2, b"h", 0, b"abc"), status(2, 0)),
            (write(3, b"h", 1, b"x"), status(3, 0)),
        ),
        "to its end": (READ, (read(2, b"h", 0), packet(103, 2, b"abc"))),
        "appended": (WRITE | APPEND, (write(2, b"h", 0, b"abc"), status(2, 0))),
        "size was set": (
            WRITE | TRUNCATE,
            (write(2, b"h", 0, b"abc"), status(2, 0)),
            (string(b"\x0a" + (3).to_bytes(4, "big") + string(b"h") + (1).to_bytes(4, "big") + wide(1)), status(3, 0)),
        ),
    }
    for why, (flags, *steps) in cases.items():
        closed = transfer(Log(), flags, *steps)
        assert "sha256" not in closed, why
        assert why in closed["partial"]


def test_a_file_that_was_open_at_the_end_is_cut() -> None:
    log = Log()
    tap = SftpTap(log.note)
    tap.sent(opened(1, b"x", WRITE | TRUNCATE))
    tap.came(packet(102, 1, b"h"))
    tap.sent(write(2, b"h", 0, b"abc"))
    tap.end()
    (closed,) = log.closed()
    assert (closed["status"], closed["octets"]) == ("cut", 3)
    assert "sha256" not in closed


def test_a_refused_open_and_other_operations_are_noted_with_their_status() -> None:
    log = Log()
    tap = SftpTap(log.note)
    tap.sent(opened(1, b"/etc/shadow", READ) + packet(13, 2, b"gone") + packet(18, 3, b"old", b"new"))
    tap.came(status(1, 3) + status(2, 0) + status(3, 4))
    assert [(one["kind"], one["path"], one["status"]) for one in log] == [
        ("file-open", "/etc/shadow", "permission denied"),
        ("sftp", "gone", "ok"),
        ("sftp", "old", "failure"),
    ]


def test_what_is_remembered_is_bounded() -> None:
    log = Log()
    tap = SftpTap(log.note)
    for number in range(FILES + 100):
        tap.sent(opened(number, b"x", READ))
        tap.came(packet(102, number, number.to_bytes(4, "big")))
    assert len(tap._files) == FILES
    tap.sent(b"".join(packet(17, 10_000 + number, b"x") for number in range(20_000)))
    assert len(tap._asked) <= 8192
    assert sum("odd" in one for one in log) == NOTED


def test_a_packet_that_is_too_long_is_passed_over_and_the_next_is_understood() -> None:
    log = Log()
    tap = SftpTap(log.note)
    huge = string(b"\6" + bytes(PACKET + 99)) + packet(13, 2, b"gone")
    for at in range(0, len(huge), 4096):
        tap.sent(huge[at : at + 4096])
    tap.came(status(2, 0))
    assert log[-1]["path"] == "gone"


def test_a_length_that_no_packet_has_is_no_sftp() -> None:
    for length in (0, ABSURD + 1, 0xFFFFFFFF):
        with contextlib.suppress(Lost):
            SftpTap(Log().note).sent(length.to_bytes(4, "big") + b"x")
            raise AssertionError(length)


@given(st.data())
def test_the_same_log_however_the_octets_are_cut(data: st.DataObject) -> None:
    logs = []
    for pieces in (1, data.draw(st.integers(1, 40))):
        log = Log()
        tap = SftpTap(log.note)
        steps = [(packet(1, 3), packet(2, 3)), (opened(1, b"x", WRITE | TRUNCATE), packet(102, 1, b"h"))]
        steps += [(write(2, b"h", 0, b"abc" * 50), status(2, 0)), (packet(4, 3, b"h"), status(3, 0))]
        for ask, answer in steps:
            for at in range(0, len(ask), len(ask) // pieces + 1):
                tap.sent(ask[at : at + len(ask) // pieces + 1])
            for at in range(0, len(answer), len(answer) // pieces + 1):
                tap.came(answer[at : at + len(answer) // pieces + 1])
        logs.append(list(log))
    assert logs[0] == logs[1]
    assert logs[0][-1]["sha256"] == _sha256(b"abc" * 50)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=30))
def test_no_garbage_hurts(pieces: list[tuple[bool, bytes]]) -> None:
    tap = SftpTap(Log().note)
    with contextlib.suppress(Lost):
        for sent, piece in pieces:
            (tap.sent if sent else tap.came)(piece)
    tap.end()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=24)), max_size=40))
def test_no_garbage_in_whole_packets_hurts(packets: list[tuple[bool, int, int, bytes]]) -> None:
    tap = SftpTap(Log().note)
    with contextlib.suppress(Lost):
        for sent, kind, number, rest in packets:
            (tap.sent if sent else tap.came)(string(bytes([kind]) + number.to_bytes(4, "big") + rest))
    tap.end()


def test_paths_and_handles_that_nobody_can_have_fill_neither_the_log_nor_memory() -> None:
    noted: list[tuple[str, dict[str, Any]]] = []
    tap = SftpTap(lambda kind, facts: noted.append((kind, facts)))
    for number in range(100):
        tap.sent(opened(number, b"\xff" * 400_000, READ))
        tap.came(packet(101, number, 3, b"no", b""))
    opens = [facts for kind, facts in noted if kind == "file-open"]
    assert len(opens) == 100
    assert all(len(facts["path"]) < 20_000 and "(400000 octets)" in facts["path"] for facts in opens)
    for number in range(100):
        tap.sent(packet(4, number, b"h" * 400_000))
    assert sum(len(asked.handle) for asked in tap._asked.values()) == 0
    tap = SftpTap(lambda kind, facts: noted.append((kind, facts)))
    tap.sent(opened(7, b"/captures/a", READ))
    tap.came(packet(102, 7, b"h" * 300))
    assert noted[-2] == ("file-open", {"protocol": "sftp", "path": "/captures/a", "flags": "read", "status": "ok"})
    assert noted[-1][0] == "sftp"
    assert "odd" in noted[-1][1]
