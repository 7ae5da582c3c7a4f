"""tunnel.control_message: frames however torn, messages within their bounds, hostile ones told and not raised."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.control_message import (
    FRAME_LIMIT,
    Bye,
    Confirm,
    Frames,
    Granted,
    MessageError,
    Refused,
    Register,
    Withdraw,
    decode_from_appliance,
    decode_from_bastion,
    encode,
)

REGISTER = Register(
    product="Gatepost 0.1.0",
    series="esa",
    activation_id="0123456789abcdef" * 2,
    mode="tunnel",
    fingerprint="a1b2c3d4e5f60708",
    key_id=1,
    day=2518,
    until_at=1_800_000_000.0,
    hops=("10.1.1.5", "fd00::5"),
    generation=7,
    nonce="ab" * 16,
)
FROM_APPLIANCE = [REGISTER, Confirm(generation=8), Withdraw()]
FROM_BASTION = [
    Granted(generation=8, nonce="cd" * 16, until_at=1_800_000_000.0),
    Refused(why="frozen", frozen=True, retry_after_s=600.0),
    Bye(retry_after_s=30.0),
]


def _content(frame: bytes) -> bytes:
    (content,) = Frames().receive(frame)
    return content


def test_each_message_comes_out_as_it_went_in() -> None:
    assert [decode_from_appliance(_content(encode(each))) for each in FROM_APPLIANCE] == FROM_APPLIANCE
    assert [decode_from_bastion(_content(encode(each))) for each in FROM_BASTION] == FROM_BASTION


def test_the_form_on_the_wire_is_the_one_that_is_written_down() -> None:
    frame = encode(REGISTER)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    document = json.loads(frame[4:])
    assert document["do"] == "register"
    assert set(document) == {
        *("do", "version", "product", "series", "activation_id", "mode", "fingerprint", "key_id", "day"),
        *("until_at", "hops", "generation", "nonce"),
    }
    assert json.loads(encode(FROM_BASTION[0])[4:])["ok"] is True
    assert json.loads(encode(Confirm(generation=8))[4:]) == {"do": "confirm", "generation": 8}


@given(cuts=st.lists(st.integers(0, 2000), max_size=30))
def test_frames_may_be_torn_anywhere(cuts: list[int]) -> None:
    stream = b"".join(encode(each) for each in FROM_APPLIANCE)
    frames, at, found = Frames(), 0, []
    for cut in sorted(min(cut, len(stream)) for cut in [*cuts, len(stream)]):
        found += frames.receive(stream[at:cut])
        at = cut
    assert [decode_from_appliance(each) for each in found] == FROM_APPLIANCE
    assert (frames.fault, frames.torn) == ("", False)


def test_what_was_cut_off_is_known_to_be_torn() -> None:
    frames = Frames()
    assert frames.receive(encode(Withdraw())[:-1]) == []
    assert frames.torn


@pytest.mark.parametrize("length", [0, FRAME_LIMIT + 1, 2**32 - 1])
def test_a_length_out_of_bounds_ends_the_reading_and_keeps_nothing(length: int) -> None:
    frames = Frames()
    good = encode(Withdraw())
    assert frames.receive(good + length.to_bytes(4, "big") + b"x" * 100) == [good[4:]]
    assert str(length) in frames.fault
    assert frames.receive(good) == []
    assert not frames.torn


def test_the_longest_frame_passes() -> None:
    content = b" " * FRAME_LIMIT
    assert Frames().receive(len(content).to_bytes(4, "big") + content) == [content]


@given(st.binary(max_size=400))
def test_whatever_comes_is_a_message_or_an_error_of_ours(data: bytes) -> None:
    for decode in (decode_from_appliance, decode_from_bastion):
        with contextlib.suppress(MessageError):
            decode(data)
    Frames().receive(data)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 60_000,
        b'{"do":' * 10_000,
        b'{"do":"register","x":' + b"[" * 60_000,
        b'"\xff"',
        b"{}",
        b"[]",
        b"null",
        b"",
    ],
)
def test_deep_broken_and_empty_json_is_refused(content: bytes) -> None:
    with pytest.raises(MessageError):
        decode_from_appliance(content)
    with pytest.raises(MessageError):
        decode_from_bastion(content)


def _changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(encode(REGISTER)[4:]) | changes).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": -1},
        {"generation": 2**60},
        {"generation": "7"},
        {"generation": True},
        {"nonce": "zz"},
        {"nonce": "ab" * 33},
        {"mode": "disabled"},
        {"mode": "tunnel\n"},
        {"activation_id": "x\n"},
        {"activation_id": "a b"},
        {"fingerprint": "\u202e"},
        {"product": "a\x1b[2J"},
        {"product": "x" * 401},
        {"hops": ["10.0.0.1"] * 17},
        {"hops": ["host name"]},
        {"until_at": -1},
        {"until_at": 1e300},
        {"key_id": 32},
        {"day": 4096},
        {"version": 0},
    ],
)
def test_a_value_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        decode_from_appliance(_changed(**changes))
    assert "\n" not in str(caught.value)


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert decode_from_appliance(_changed(colour="blue")) == REGISTER


def test_the_appliance_does_not_take_its_own_messages_and_not_a_wait_of_years() -> None:
    for content in (encode(REGISTER)[4:], b'{"ok":"yes"}', b'{"do":"bye","retry_after_s":1e9}', b'{"ok":true}'):
        with pytest.raises(MessageError):
            decode_from_bastion(content)


def test_a_message_that_fits_no_frame_is_not_sent() -> None:
    with pytest.raises(ValueError, match="octets"):
        encode(Refused(why="x" * FRAME_LIMIT))
