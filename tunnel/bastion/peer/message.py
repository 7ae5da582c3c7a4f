"""What bastions say to each other, without I/O: one request and one answer in frames, then perhaps bare octets.

A frame is a length of 4 octets, big-endian, and so many octets of JSON. After an answer to `relay` that says yes, the
connection carries the octets of the appliance's channel both ways until one side closes.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

LIMIT = 16_384
"""Most octets of JSON in a frame."""
_HEAD = 4

Serial = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@#-]{1,200}\Z")]
Token = Annotated[str, Meta(pattern=r"^[0-9a-f]{1,64}\Z")]


class MessageError(Exception):
    """Not a message of this protocol; the text names no content of the peer's."""


class Relay(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="relay"):
    """Carry this connection through to an appliance's console, for the engineer whose key id this is."""

    serial: Serial
    key_id: KeyId


class Drop(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="drop"):
    """End the tunnel of an appliance that has just come to the node that says so."""

    serial: Serial
    connection: Token
    """Which of the appliance's connections is over."""


class Certify(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="certify"):
    """Have a key signed with a grant of this node's keyd, so that the asking node may enter the appliance."""

    serial: Serial
    key_id: KeyId
    public_key: Annotated[str, Meta(max_length=2048)]
    forwarding: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to each."""

    why: Annotated[str, Meta(max_length=400)] = ""
    """Empty for yes; otherwise one line for the engineer."""
    certificate: Annotated[str, Meta(max_length=8192)] = ""


Request = Relay | Drop | Certify


def encode(message: Request | Answer) -> bytes:
    """Give a message as a frame."""
    content = msgspec.json.encode(message)
    return len(content).to_bytes(_HEAD, "big") + content


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """Give the content of the first frame and what follows it; None if it is not whole. Raises MessageError."""
    if len(data) < _HEAD:
        return None
    length = int.from_bytes(data[:_HEAD], "big")
    if length > LIMIT:
        raise MessageError("the frame is too long")
    if len(data) < _HEAD + length:
        return None
    return data[_HEAD : _HEAD + length], data[_HEAD + length :]


def decode_request(content: bytes) -> Request:
    """Read a request. Raises MessageError."""
    try:
        request: Request = msgspec.json.decode(content, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError("not a request that this release knows") from error
    return request


def decode_answer(content: bytes) -> Answer:
    """Read an answer. Raises MessageError."""
    try:
        return msgspec.json.decode(content, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError("not an answer that this release knows") from error
