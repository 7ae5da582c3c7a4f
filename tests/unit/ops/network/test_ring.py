"""The ring of a capture: ten parts, each readable by itself; the oldest goes; what is on the disk is whole packets."""

import struct
from pathlib import Path

import pytest

from ops.network.capture.ring import HEADER, NotAPcap, Ring, RingFull

HEAD = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


def packet(number: int, size: int = 84) -> bytes:
    return struct.pack("=IIII", number, 0, size, size) + bytes([number % 256]) * size


def packets_in(data: bytes) -> list[int]:
    """Read a pcap file; gives the numbers of its packets, and fails for one that is cut."""
    assert data[:HEADER] == HEAD
    at, found = HEADER, []
    while at < len(data):
        number, _, kept, _ = struct.unpack_from("=IIII", data, at)
        assert data[at + 16 : at + 16 + kept] == bytes([number % 256]) * kept
        at += 16 + kept
        found.append(number)
    return found


def test_the_oldest_tenth_goes_when_the_size_is_reached(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "c", max_bytes=10_240, parts=10)
    ring.write(HEAD)
    stream = b"".join(packet(number) for number in range(300))
    for at in range(0, len(stream), 777):  # as it comes from a pipe: cut anywhere
        ring.write(stream[at : at + 777])
        assert ring.octets <= 10_240
    ring.end()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 10
    assert sum(file.stat().st_size for file in files) == ring.octets
    numbers = [number for file in files for number in packets_in(file.read_bytes())]
    assert numbers == list(range(numbers[0], 300)), "a packet is missing, or stands twice"
    assert 80 < len(numbers) < 110
    assert ring.packets == 300
    assert ring.dropped_parts > 10


def test_it_can_end_at_the_size_instead(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "c", max_bytes=10_240, parts=10, drop=False)
    ring.write(HEAD)
    with pytest.raises(RingFull):
        ring.write(b"".join(packet(number) for number in range(300)))
    ring.end()
    assert packets_in(sorted(tmp_path.iterdir())[0].read_bytes())[0] == 0


def test_a_packet_larger_than_a_part_has_a_part_of_its_own(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "c", max_bytes=2_000, parts=10)
    ring.write(HEAD + packet(1) + packet(2, 1_500) + packet(3))
    ring.end()
    assert [packets_in(file.read_bytes()) for file in sorted(tmp_path.iterdir())] == [[1], [2], [3]]


def test_half_a_packet_at_the_end_is_not_written(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "c", max_bytes=10_240, parts=10)
    ring.write(HEAD[:10])
    ring.write(HEAD[10:] + packet(1) + packet(2)[:40])
    ring.end()
    assert packets_in((tmp_path / "c.000.pcap").read_bytes()) == [1]


@pytest.mark.parametrize("data", [b"tcpdump: no such device\n" * 2, HEAD + b"\xff" * 64], ids=["text", "length"])
def test_what_is_no_capture_is_not_taken(tmp_path: Path, data: bytes) -> None:
    ring = Ring(tmp_path, "c", max_bytes=10_240, parts=10)
    with pytest.raises(NotAPcap):
        ring.write(data)
    ring.end()


def test_a_file_that_is_there_is_not_overwritten_and_a_link_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"keep")
    (tmp_path / "c.000.pcap").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        Ring(tmp_path, "c", max_bytes=10_240, parts=10).write(HEAD)
    assert (tmp_path / "victim").read_bytes() == b"keep"
