from pathlib import Path

import pytest

from core.content import ContentSettings, ContentStore
from core.disk import Disk
from core.journal.record import PAGE, Item, Room, encode_batch
from core.journal.segment import (
    WINDOW_BYTES,
    Header,
    SegmentReader,
    decode_header,
    encode_header,
    fill_spare,
    generations,
    segment_path,
)

TAG = b"8 octets"
HEADER = Header(7, TAG, 3, 8192, 64 * PAGE)


def batch(offset: int, *bodies: bytes) -> bytes:
    items = []
    for mid, body in enumerate(bodies, start=1):
        content = ContentStore(Path("/nowhere"), ContentSettings(inline_bytes=2**30)).new()
        content.write(body)
        items.append(Item(mid, b"accepted", b"outcome", content, lambda _failure: None))
    return b"".join(encode_batch(items, 0, Room(7, TAG, offset, 2**40)).buffers)


def read(directory: Path, octets: bytes) -> tuple[list[bytes], int]:
    segment_path(directory, 7).write_bytes(encode_header(HEADER) + octets)
    reader = SegmentReader(Disk(), directory, 7)
    found = [record.stored for record in reader.records(PAGE, reader.size)]
    reader.close()
    return found, reader.damaged


def test_a_header_is_read_back_and_a_damaged_one_refused() -> None:
    page = encode_header(HEADER)
    assert len(page) == PAGE
    assert decode_header(page) == HEADER
    assert decode_header(page[:9] + b"\xff" + page[10:]) is None
    assert decode_header(bytes(PAGE)) is None
    assert decode_header(b"") is None


def test_batches_are_read_across_their_padding(tmp_path: Path) -> None:
    first = batch(PAGE, b"one", b"two")
    octets = first + batch(PAGE + len(first), b"three") + bytes(4 * PAGE)
    assert read(tmp_path, octets) == ([b"one", b"two", b"three"], 0)


def test_a_record_larger_than_the_window_is_read(tmp_path: Path) -> None:
    large = b"x" * (WINDOW_BYTES * 2 + 5)
    first = batch(PAGE, b"one", large, b"two")
    assert read(tmp_path, first)[0] == [b"one", large, b"two"]


@pytest.mark.parametrize("window", [1, 30, PAGE, 3 * PAGE])
def test_a_budget_smaller_than_a_record_passes_over_none(tmp_path: Path, window: int) -> None:
    first = batch(PAGE, b"one", b"b" * 2 * PAGE, b"three")
    octets = first + batch(PAGE + len(first), b"four") + bytes(2 * PAGE)
    segment_path(tmp_path, 7).write_bytes(encode_header(HEADER) + octets)
    reader = SegmentReader(Disk(), tmp_path, 7)
    found = [record.stored for record in reader.records(PAGE, reader.size, window)]
    assert (found, reader.damaged) == ([b"one", b"b" * 2 * PAGE, b"three", b"four"], 0)
    reader.close()


def test_records_behind_a_torn_page_are_found(tmp_path: Path) -> None:
    octets = bytearray(batch(PAGE, b"one", b"b" * 3 * PAGE, b"three"))
    octets[PAGE : 2 * PAGE] = bytes(PAGE)
    assert read(tmp_path, bytes(octets)) == ([b"one", b"three"], 1)


def test_lengths_that_lie_do_not_end_the_search(tmp_path: Path) -> None:
    octets = bytearray(batch(PAGE, b"one", b"two"))
    octets[16:28] = b"\xff" * 12
    assert read(tmp_path, bytes(octets))[0] == [b"two"]


def test_content_that_quotes_the_segment_itself_is_only_content(tmp_path: Path) -> None:
    quoted = batch(PAGE, b"forged")
    octets = bytearray(batch(PAGE, quoted, b"two"))
    octets[20] ^= 1
    assert read(tmp_path, bytes(octets))[0] == [b"two"]


def test_records_of_an_earlier_use_are_not_seen(tmp_path: Path) -> None:
    items = [Item(9, b"old", b"old", None, lambda _failure: None)]
    old = b"".join(encode_batch(items, 0, Room(6, b"formerly", PAGE * 2, 2**40)).buffers)
    assert read(tmp_path, batch(PAGE, b"new") + old)[0] == [b"new"]


def test_a_file_cut_short_ends_the_reading(tmp_path: Path) -> None:
    octets = batch(PAGE, b"one", bytes(10_000))
    segment_path(tmp_path, 7).write_bytes((encode_header(HEADER) + octets)[:8000])
    reader = SegmentReader(Disk(), tmp_path, 7)
    assert [record.mid for record in reader.records(PAGE, 64 * PAGE)] == [1]
    reader.close()


def test_a_name_that_does_not_fit_the_header_is_no_segment(tmp_path: Path) -> None:
    segment_path(tmp_path, 8).write_bytes(encode_header(HEADER))
    reader = SegmentReader(Disk(), tmp_path, 8)
    assert reader.header is None
    assert list(reader.records(PAGE, PAGE * 2)) == []
    reader.close()


def test_a_spare_is_zeros_of_the_whole_length_and_no_segment(tmp_path: Path) -> None:
    spare = fill_spare(Disk(), tmp_path, 3 * 1024 * 1024 + PAGE)
    assert spare.read_bytes() == bytes(3 * 1024 * 1024 + PAGE)
    assert spare.stat().st_blocks * 512 >= 3 * 1024 * 1024
    assert generations(Disk(), tmp_path) == []
