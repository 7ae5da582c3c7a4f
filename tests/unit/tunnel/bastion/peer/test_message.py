"""What bastions say to each other: whole frames, bounded, and nothing else."""

import pytest

from tunnel.bastion.peer.message import (
    LIMIT,
    Answer,
    Certify,
    Drop,
    MessageError,
    Relay,
    decode_answer,
    decode_request,
    encode,
    split,
)

REQUESTS = [
    Relay(serial="sn-1", key_id="ana@SR1#0a"),
    Drop(serial="sn-1", connection="0a1b"),
    Certify(serial="sn-1", key_id="ana@SR1#0a", public_key="ssh-ed25519 AAAA", forwarding=True),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_comes_out_as_it_went_in_octet_by_octet(request_: Relay) -> None:
    frame = encode(request_) + b"SSH-2.0-"
    whole = [split(frame[:end]) for end in range(len(frame) + 1)]
    first = next(index for index, found in enumerate(whole) if found is not None)
    assert first == len(frame) - len(b"SSH-2.0-")
    found = whole[-1]
    assert found is not None
    assert (decode_request(found[0]), found[1]) == (request_, b"SSH-2.0-")


def test_an_answer_comes_out_as_it_went_in() -> None:
    found = split(encode(Answer(why="no")))
    assert found is not None
    assert decode_answer(found[0]) == Answer(why="no")


def test_a_long_frame_is_refused_before_it_has_come() -> None:
    with pytest.raises(MessageError, match="too long"):
        split((LIMIT + 1).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"do":"shell","serial":"sn-1","key_id":"a"}',
        b'{"do":"relay","serial":"SN 1","key_id":"a"}',
        b'{"do":"relay","serial":"sn-1","key_id":"a!bastion"}',
        b'{"do":"drop","serial":"sn-1","connection":"\\n"}',
    ],
)
def test_what_is_no_request(content: bytes) -> None:
    with pytest.raises(MessageError):
        decode_request(content)
