"""Reading logs: searching, following through roll-overs, and finding all that became of a message."""

import os
import time
from pathlib import Path

import pytest

from core.log.event import Finder
from core.log.file import LogFile
from core.log.follow import Follower, Place
from core.log.reading import blocks, files_of, last_lines
from core.log.search import Search

ROAD = """\
New SMTP ICID 7 interface In (127.0.0.1) address 192.0.2.7 reverse dns host unknown verified no
ICID 7 ACCEPT SG None match ALL SBRS None
Start MID 11 ICID 7
MID 11 ICID 7 From: <ann@example.test>
MID 11 ICID 7 RID 0 To: <bob@example.test>
MID 11 Subject "holiday plans"
MID 11 rewritten to MID 12 by add-footer
Start MID 20 ICID 7
MID 20 ICID 7 From: <carl@example.test>
MID 20 ICID 7 RID 0 To: <dora@example.test>
ICID 7 close
MID 12 queued for delivery
New SMTP DCID 3 interface 127.0.0.1 address 192.0.2.9 port 25
Delivery start DCID 3 MID 12 to RID [0]
Bounced: DCID 3 MID 12 to RID 0 - 5.1.1 - Bad destination email address ('550', ['no']) []
MID 13 was generated for bounce of MID 12
Start MID 13 ICID 0
MID 13 ICID 0 From: <>
DCID 3 close
Message finished MID 12 done
MID 120 queued for delivery
"""


def _log(folder: Path, text: str = ROAD, per_file: int = 5) -> Path:
    file = LogFile(folder / "mail.current")
    lines = text.splitlines(keepends=True)
    for at in range(0, len(lines), per_file):
        if at:
            file.roll()
        file.write("".join(f"Sun Nov 22 02:21:02 2026 Info: {line}" for line in lines[at : at + per_file]).encode())
    return file.path


def _found(path: Path, regex: str, **options: object) -> list[str]:
    search = Search(regex, files_of(path), **options)  # type: ignore[arg-type]
    lines = []
    while not search.ended:
        lines += [line.decode().partition(" Info: ")[2] or line.decode() for line in search.step()]
    return lines


def test_lines_are_found_over_saved_files_in_order(tmp_path: Path) -> None:
    assert _found(_log(tmp_path), r"MID 1[12] .*(From|queued)") == [
        "MID 11 ICID 7 From: <ann@example.test>",
        "MID 12 queued for delivery",
    ]


def test_anchors_mean_lines_and_inverted_gives_the_others(tmp_path: Path) -> None:
    path = _log(tmp_path)
    assert _found(path, "^Sun.*close$") == ["ICID 7 close", "DCID 3 close"]
    assert len(_found(path, "^Sun.*close$", inverted=True)) == ROAD.count("\n") - 2
    assert _found(path, "HOLIDAY", insensitive=True) == ['MID 11 Subject "holiday plans"']


def test_context_stands_around_with_gaps_marked(tmp_path: Path) -> None:
    assert _found(_log(tmp_path), "close", context=1) == [
        "MID 20 ICID 7 RID 0 To: <dora@example.test>",
        "ICID 7 close",
        "MID 12 queued for delivery",
        "--",
        "MID 13 ICID 0 From: <>",
        "DCID 3 close",
        "Message finished MID 12 done",
    ]


def test_an_expression_that_would_hang_others_is_linear(tmp_path: Path) -> None:
    path = _log(tmp_path, "a" * 50_000 + "\n")
    begun = time.process_time()
    assert _found(path, r"(a+)+$x") == []
    assert time.process_time() - begun < 5


def _events(path: Path, kind: str, text: str, **options: object) -> list[tuple[list[int], list[str]]]:
    finder = Finder(files_of(path), kind, text, **options)  # type: ignore[arg-type]
    while finder.step():
        pass
    return [(one.mids, [line.partition(" Info: ")[2] for line in one.lines]) for one in finder.events]


WHOLE = [line for line in ROAD.splitlines() if "MID 20" not in line and "MID 120" not in line]


@pytest.mark.parametrize(
    ("kind", "text", "mids"),
    [
        ("from", "ANN@", [11, 12, 13]),
        ("to", "bob", [11, 12, 13]),
        ("subject", "holi.*s", [11, 12, 13]),
        ("mid", "13", [13, 12, 11]),
        ("mid", "12", [12, 11, 13]),
    ],
    ids=["from", "to", "subject", "newest", "middle"],
)
def test_a_message_is_followed_through_its_mids_both_ways(
    tmp_path: Path, kind: str, text: str, mids: list[int]
) -> None:
    assert _events(_log(tmp_path), kind, text) == [(mids, WHOLE)]


def test_several_messages_are_several_events_and_the_bound_is_told(tmp_path: Path) -> None:
    path = _log(tmp_path)
    assert [mids for mids, _ in _events(path, "from", "@example")] == [[11, 12, 13], [20]]
    finder = Finder(files_of(path), "from", "@example", most=1)
    while finder.step():
        pass
    assert (len(finder.events), finder.matched, finder.truncated) == (1, 2, True)


def test_a_follower_loses_no_line_through_roll_overs(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "mail.current")
    file.write(b"before\n")
    follower = Follower(file.path)
    for n in range(3):
        file.write(b"%d\n" % n)
        file.roll()
    file.write(b"3\n")
    with file.path.open("ab") as raw:
        raw.write(b"part")
    got = b""
    while data := follower.read():
        got += data
    assert got == b"0\n1\n2\n3\n"
    again = Follower(file.path, follower.place)
    with file.path.open("ab") as raw:
        raw.write(b" whole\n")
    assert again.read() == b"part whole\n"
    follower.close()
    again.close()


def test_a_follower_whose_file_is_gone_begins_at_the_oldest_and_counts_it(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "mail.current")
    file.write(b"one\n")
    follower = Follower(file.path, Place(1, 99))
    assert (follower.read(), follower.missed) == (b"one\n", 1)
    follower.close()


def test_the_last_lines_of_a_file_and_blocks_of_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "mail.current"
    path.write_bytes(b"".join(b"%06d\n" % n for n in range(100_000)) + b"end")
    assert last_lines(path, 2) == [b"099999", b"end"]
    assert last_lines(tmp_path / "none", 2) == []
    assert b"".join(blocks([path])) == path.read_bytes() + b"\n"
    assert all(block.endswith(b"\n") for block in blocks([path]))


def test_a_pipe_among_the_logs_keeps_no_reader_waiting(tmp_path: Path) -> None:
    path = _log(tmp_path)
    os.mkfifo(tmp_path / "mail.@9.s")
    with pytest.raises(OSError, match="it is not a file"):
        _found(path, "MID")
    path.unlink()
    os.mkfifo(path)
    for read in (Follower, lambda at: last_lines(at, 3)):
        with pytest.raises(OSError, match="it is not a file"):
            read(path)


HOSTILE = """\
Start MID 31 ICID 9
MID 31 ICID 9 From: <eve@evil.test>
MID 31 ICID 9 RID 0 To: <"MID 11 ICID 7 From: <carl@example.test>"@evil.test>
MID 31 Subject "x MID 11 rewritten to MID 31 by MID 20 generated based on MID 31"
Bounced: DCID 8 MID 31 to RID 0 - 5.1.1 - no ('550', ['MID 11 Subject "gotcha" DCID 3']) []
ICID 9 close
"""


def test_what_a_peer_says_makes_no_line_of_another_message(tmp_path: Path) -> None:
    files = files_of(_log(tmp_path, ROAD + HOSTILE))
    for kind, text in (("mid", "11"), ("from", "ann@"), ("subject", "holiday")):
        finder = Finder(files, kind, text)  # type: ignore[arg-type]
        while finder.step():
            pass
        assert [event.mids[0] for event in finder.events] == [11]
        assert not any("MID 31" in line for line in finder.events[0].lines)
    for kind, text in (("from", "carl"), ("subject", "gotcha")):
        finder = Finder(files, kind, text)  # type: ignore[arg-type]
        while finder.step():
            pass
        assert [event.mids for event in finder.events] == ([[20]] if kind == "from" else [])
