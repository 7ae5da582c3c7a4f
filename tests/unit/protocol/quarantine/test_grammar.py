import pytest

from protocol.quarantine.bounded import FrameError
from protocol.quarantine.grammar import (
    METADATA,
    PROBE,
    SETTLE,
    Readiness,
    command_line,
    decode_settled,
    encode_settled,
    envelope_address,
    offers,
    parse_probe,
    payload_octets,
    probe_reply,
)
from protocol.reply import ReplyParser


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["PIPELINING", "XCPQ 1"], True),
        (["xcpq 2 1"], True),
        (["XCPQ 2"], False),
        (["XCPQ"], False),
        (["XCPQX 1"], False),
        ([], False),
    ],
)
def test_only_version_1_counts_as_an_offer(lines: list[str], found: bool) -> None:
    assert offers(lines) is found


@pytest.mark.parametrize("argument", ["", "0", "-1", "+5", " 5", "5 ", "1e3", "05", "99999999999", "５"])
def test_without_an_octet_count_nobody_knows_where_the_payload_ends(argument: str) -> None:
    with pytest.raises(FrameError):
        payload_octets(METADATA, argument)


@pytest.mark.parametrize(
    ("verb", "octets", "fault"),
    [
        (METADATA, 4194304, ""),
        (METADATA, 4194305, "at most 4194304"),
        (SETTLE, 32, ""),
        (SETTLE, 33, "whole transfer ids"),
        (SETTLE, 16016, "at most 16000"),
    ],
)
def test_a_payload_that_is_too_long_is_still_counted(verb: str, octets: int, fault: str) -> None:
    count, found = payload_octets(verb, str(octets))
    assert count == octets
    assert fault in found
    assert bool(fault) is bool(found)


@pytest.mark.parametrize(
    ("address", "rid", "sent"),
    [
        ("", None, ""),
        ("a.b+c@example.test", 3, "a.b+c@example.test"),
        ("a@example.test", None, "a@example.test"),
        ("ü@example.test", 3, "rid-3@xcpq.invalid"),
        ("ü@example.test", None, "sender@xcpq.invalid"),
        ('"a b"@example.test', 0, "rid-0@xcpq.invalid"),
        ("postmaster", 1, "rid-1@xcpq.invalid"),
        ("a@Example.test", 1, "rid-1@xcpq.invalid"),
        ("a..b@example.test", 1, "rid-1@xcpq.invalid"),
        ("a@b>\r\nRSET", 1, "rid-1@xcpq.invalid"),
    ],
)
def test_only_addresses_that_cannot_be_misunderstood_stand_in_the_envelope(
    address: str, rid: int | None, sent: str
) -> None:
    assert envelope_address(address, rid) == sent


def test_settled_ids_survive_the_way() -> None:
    ids = [bytes([n]) * 16 for n in range(3)]
    payload = encode_settled(ids)
    assert command_line(SETTLE, payload) == "XCPQDONE 48"
    assert decode_settled(payload) == ids
    assert command_line(PROBE) == "XCPQSTAT"


@pytest.mark.parametrize("ids", [[], [b"short"], [bytes(16)] * 1001])
def test_bad_lists_of_ids_are_never_sent(ids: list[bytes]) -> None:
    with pytest.raises(FrameError):
        encode_settled(ids)


@pytest.mark.parametrize("payload", [b"", b"x" * 15, b"x" * 17])
def test_bad_lists_of_ids_are_never_read(payload: bytes) -> None:
    with pytest.raises(FrameError):
        decode_settled(payload)


@pytest.mark.parametrize(
    "readiness",
    [
        Readiness("SMA-1", "hold", True, "", ("Policy", "Virus mail", "Größe 100%", "a\r\nb")),
        Readiness("ESA-1", "release", False, "suspended by the operator"),
        Readiness("S", "hold", False, "naïve\nreason"),
        Readiness("S", "hold", True, "", tuple(f"Q{n}" for n in range(100))),
    ],
)
def test_a_probe_survives_the_wire_and_a_reply_parser(readiness: Readiness) -> None:
    replies = ReplyParser().feed(probe_reply(readiness).encode())
    assert len(replies) == 1
    assert replies[0].code == 250
    assert parse_probe(replies[0].lines) == readiness


def test_more_quarantines_than_a_reply_holds_are_counted_and_not_named() -> None:
    reply = probe_reply(Readiness("S", "hold", True, "", tuple(f"Q{n}" for n in range(500))))
    assert len(ReplyParser().feed(reply.encode())[0].lines) < 128
    assert "count 500" in reply.lines


@pytest.mark.parametrize("lines", [[], ["Ok"], ["serial X"], ["accepting yes"], ["serial ", "accepting yes"]])
def test_an_answer_without_serial_or_readiness_is_no_probe(lines: list[str]) -> None:
    with pytest.raises(FrameError):
        parse_probe(lines)
