import base64
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.quarantine.frame import (
    MAX_FRAME,
    MAX_RECIPIENTS,
    Frame,
    FrameDecision,
    FrameEdit,
    FrameError,
    FrameHold,
    FrameRecipient,
    decode_frame,
    encode_frame,
)

FRAME = Frame(
    direction="hold",
    transfer_id=bytes(range(16)),
    sender_serial="ESA-1",
    sender_mid=77,
    origin_serial="ESA-1",
    origin_mid=77,
    icid=9,
    received_at=1_700_000_000.25,
    sender="a@example.com",
    recipients=(FrameRecipient(0, "b@example.test"), FrameRecipient(3, "ü@example.test", "c@old.test")),
    size=1234,
    sha256=bytes(32),
    listener="InboundMail",
    remote_ip="192.0.2.1",
    trace=b"Received: from x\r\n\tby y; today\r\n",
    subject="Grüße [hold]",
    smtputf8=True,
    finished=("filters", "antivirus"),
    edits=(
        FrameEdit("insert", "X-A", "one\r\n two"),
        FrameEdit("strip", "X-B"),
        FrameEdit("replace", "From", "a@in.example\ta@out.example\nb@in.example\tb@out.example"),
        FrameEdit("splice", "footer", "17 utf-8\ngr\u00fc\u00df\r\n"),
    ),
    decisions=(FrameDecision("filters", "hold_it", "subject", "quarantine", 12, 1.5),),
    holds=(FrameHold("Policy", "message filter:hold_it", "[hold]", 1_700_100_000.0),),
    hold_count=1,
)


def changed(**fields: object) -> bytes:
    document = json.loads(encode_frame(FRAME))
    document.update(fields)
    return json.dumps(document).encode()


def test_a_frame_survives_the_way() -> None:
    assert decode_frame(encode_frame(FRAME)) == FRAME


def test_unknown_keys_of_a_newer_peer_are_ignored() -> None:
    assert decode_frame(changed(color="red")) == FRAME


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"v": 2}, "v is not 1"),
        ({"v": True}, "v is not a number"),
        ({"direction": "sideways"}, "direction"),
        ({"transfer_id": "AAAA"}, "transfer_id"),
        ({"transfer_id": "not base64!"}, "transfer_id is not base64"),
        ({"sha256": "AAAA"}, "sha256"),
        ({"size": -1}, "size"),
        ({"size": "12"}, "size is of the wrong type"),
        ({"sender": "a" * 321}, "sender is longer than 320 octets"),
        ({"sender": "ü" * 161}, "sender is longer"),
        ({"sender": "a@b\r\nRCPT TO:<x>"}, "sender contains control characters"),
        ({"sender": None}, "sender is missing"),
        ({"helo": "a\x7fb"}, "helo contains control characters"),
        ({"subject": "\ud800"}, "subject is not Unicode text"),
        ({"received_at": -5}, "received_at"),
        ({"received_at": 1e300}, "received_at"),
        ({"recipients": []}, "recipients has not 1 to"),
        ({"recipients": [{"rid": 0, "address": "", "original": "", "state": "held"}]}, "empty address"),
        ({"recipients": [{"rid": 0, "address": "x@y", "original": "", "state": "held"}] * 2}, "one rid twice"),
        ({"recipients": [7]}, "is not an object"),
        ({"recipients": [{"rid": 0, "address": "x@y", "original": "", "state": "gone"}]}, "recipients[0].state"),
        ({"holds": []}, "names no quarantine"),
        ({"holds": [{"quarantine": "", "reason": "", "matched": "", "expires_at": 0}]}, "empty name"),
        ({"edits": [{"action": "burn", "name": "x", "value": ""}]}, "edits[0].action"),
        ({"finished": ["x"] * 101}, "finished has more than 100"),
        ({"finished": [1]}, "finished.0 is of the wrong type"),
        ({"trace": "A" * 100_000}, "trace is not of 65536 octets"),
        ({"origin_serial": ""}, "is empty"),
        ({"smtputf8": 1}, "smtputf8 is of the wrong type"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_frame(changed(**fields))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"nonsense",
        b"\xff\xfe{}",
        b"[" * 200_000,
        b'{"v":1,"v":1}',
        b'{"v":NaN}',
        b'{"v":' + b"1" * 5000 + b"}",
        b" " * (MAX_FRAME + 1),
    ],
)
def test_what_is_no_frame_is_refused_whole(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


@given(st.binary(max_size=200) | st.from_regex(r'\{"[a-z_]{1,12}":[0-9"\[\]{}a-z,:]{0,40}\}').map(str.encode))
def test_arbitrary_octets_raise_nothing_but_frame_errors(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


def test_what_only_explains_is_shortened_by_the_sender() -> None:
    long = dataclasses.replace(
        FRAME,
        subject="x" * 5000,
        helo="bad\x00name",
        decisions=tuple(FrameDecision("s", "r", "é" * 2000, "v") for _ in range(600)),
        holds=(FrameHold("Policy", "because\n", "\ud800" + "y" * 3000),),
    )
    got = decode_frame(encode_frame(long))
    assert len(got.subject) == 1000
    assert got.helo == "bad name"
    assert len(got.decisions) == 500
    assert got.decisions[0].input == "é" * 500
    assert got.holds[0].reason == "because "
    assert len(got.holds[0].matched) == 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"recipients": tuple(FrameRecipient(n, "a@b") for n in range(MAX_RECIPIENTS + 1))},
        {"holds": (FrameHold("x" * 200, "r"),)},
        {"sender": "\ud800@b"},
        {"received_at": float("inf")},
        {"edits": (FrameEdit("insert", "X", "v" * 20_000),)},
    ],
)
def test_what_may_not_be_shortened_is_refused_before_a_connection_is_spent_on_it(fields: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        encode_frame(dataclasses.replace(FRAME, **fields))


@pytest.mark.parametrize(
    "trace", [b"X: y\n.\n", b"X: y\r.\r\n", b"X: y", b"\r\n", b" folded\r\n", b".\r\n", b"X: \0\r\n"]
)
def test_trace_of_a_hostile_peer_brings_no_line_end_of_its_own_outward(trace: bytes) -> None:
    """It stands in front of the content when that is delivered, and nothing looks at it again."""
    with pytest.raises(FrameError, match="trace"):
        decode_frame(changed(trace=base64.b64encode(trace).decode()))


def test_a_rid_that_no_done_record_holds_is_refused() -> None:
    """It ended the delivery queue of whoever released the message, at every start again."""
    recipient = {"rid": 1 << 32, "address": "b@example.test", "original": "", "state": "held"}
    with pytest.raises(FrameError, match="rid"):
        decode_frame(changed(recipients=[recipient]))
    assert decode_frame(changed(recipients=[recipient | {"rid": (1 << 32) - 1}])).recipients[0].rid == (1 << 32) - 1
