"""The control channel between an appliance and the bastion: frames and messages, without I/O.

The appliance opens the subsystem `gatepost-control` on its outer connection after login and before it asks for its
name. A frame is a length of 4 octets, big-endian, and so many octets of JSON, one object. Used by both ends.

Rules
- The appliance says `register` with the generation and nonce it last made durable (0 and "" if none). The bastion
  makes the next generation and a nonce durable as pending and answers with them (`Granted`), or with `Refused`.
- The appliance makes both durable, then says `confirm`; the bastion makes the pending pair the confirmed one, durably,
  before it grants the name that the appliance asks for next.
- The bastion takes the confirmed pair and the pending pair. Whatever is older belongs to a clone or to a restored
  snapshot: it freezes the serial.
- `bye` asks the appliance to come back after some seconds; `withdraw` tells the bastion that access was disabled.

Crash table: who stopped, what is durable, what the next `register` brings

| at | appliance | bastion | next |
|---|---|---|---|
| before the answer | N | N, perhaps N+1 pending | N is taken, N+1 is offered; if it was pending, with its nonce |
| answer on the way, or not durable | N | N, N+1 pending | the same |
| durable, not confirmed | N+1 | N, N+1 pending | N+1 is taken as confirmed, N+2 offered |
| confirmed | N+1 | N+1 | N+1 is taken |

A peer's fault never raises out of `Frames.receive`: it is told in `fault`, and what follows is discarded. `decode_*`
raise `MessageError` whose text names no content of the peer's.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

SUBSYSTEM = "gatepost-control"
VERSION = 1
FRAME_LIMIT = 65536
"""Most octets of JSON in a frame."""
LONGEST_WAIT_S = 86_400.0
_HEAD = 4

_Message = TypeVar("_Message", bound=msgspec.Struct)

# \Z, because $ would also allow a newline at the end.
Generation = Annotated[int, Meta(ge=0, le=2**53)]
Nonce = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}\Z")]
Address = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f.:]{2,45}\Z")]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:+/=-]{0,80}\Z")]
Line = Annotated[str, Meta(pattern=r"^[ -~]{0,400}\Z")]
Time = Annotated[float, Meta(ge=0, le=1e11)]
Wait = Annotated[float, Meta(ge=0, le=LONGEST_WAIT_S)]


class MessageError(Exception):
    """A frame that is no message of this protocol; the text says what is wrong with it."""


class Register(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="register"):
    """The appliance says what its administrator has allowed, and which generation it is."""

    version: Annotated[int, Meta(ge=1, le=1_000_000)] = VERSION
    product: Line = ""
    series: Word = ""
    activation_id: Word
    mode: Annotated[str, Meta(pattern=r"^(tunnel|sshaccess)\Z")]
    fingerprint: Word = ""
    key_id: Annotated[int, Meta(ge=0, le=31)] = 0
    day: Annotated[int, Meta(ge=0, le=4095)] = 0
    """Expiry day that went into the derivation, since 2020-01-01."""
    until_at: Time
    hops: Annotated[tuple[Address, ...], Meta(max_length=16)] = ()
    generation: Generation
    nonce: Nonce = ""


class Confirm(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="confirm"):
    """The new generation is durable on the appliance."""

    generation: Generation


class Withdraw(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="withdraw"):
    """Access was disabled: the bastion forgets this activation."""


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """The bastion takes the registration; `generation` and `nonce` are to be made durable and confirmed."""

    ok: bool = True
    generation: Generation
    nonce: Nonce
    until_at: Time


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The bastion does not take it; 0 in `retry_after_s` leaves the wait to the appliance."""

    ok: bool = False
    why: Line
    frozen: bool = False
    """A human has to look at this serial first: its generation is an old one."""
    retry_after_s: Wait = 0.0


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="bye"):
    """The bastion is going to close: come back after so many seconds."""

    retry_after_s: Wait = 0.0


class _Kind(msgspec.Struct):
    do: str = ""
    ok: bool | None = None


FromAppliance = Register | Confirm | Withdraw
FromBastion = Granted | Refused | Bye


def encode(message: FromAppliance | FromBastion) -> bytes:
    """Give the frame of a message. Raises ValueError for one that is too long."""
    content = msgspec.json.encode(message)
    if len(content) > FRAME_LIMIT:
        raise ValueError(f"a control message of {len(content)} octets")
    return len(content).to_bytes(_HEAD, "big") + content


def decode_from_appliance(content: bytes) -> FromAppliance:
    """Read what an appliance said, as the bastion. Raises MessageError."""
    kind = _decode(content, _Kind)
    match kind.do:
        case "register":
            return _decode(content, Register)
        case "confirm":
            return _decode(content, Confirm)
        case "withdraw":
            return _decode(content, Withdraw)
    raise MessageError("a message of an unknown kind")


def decode_from_bastion(content: bytes) -> FromBastion:
    """Read what the bastion said, as an appliance. Raises MessageError."""
    kind = _decode(content, _Kind)
    if kind.do == "bye":
        return _decode(content, Bye)
    if kind.do or kind.ok is None:
        raise MessageError("a message of an unknown kind")
    return _decode(content, Granted) if kind.ok else _decode(content, Refused)


def _decode(content: bytes, kind: type[_Message]) -> _Message:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # What msgspec says may quote a pattern of ours, never a value of the peer's.
        raise MessageError(f"not a control message: {error or type(error).__name__}") from error


class Frames:
    """Cuts what a channel brings into frames, however it is torn."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.fault = ""
        """Why nothing more comes out; '' as long as all is well."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take octets as they come; gives the frames that are complete now."""
        if self.fault:
            return []
        self._kept += data
        frames: list[bytes] = []
        begin = 0
        while len(self._kept) - begin >= _HEAD:
            length = int.from_bytes(self._kept[begin : begin + _HEAD], "big")
            if not 0 < length <= FRAME_LIMIT:
                self.fault = f"a control frame of {length} octets"
                self._kept.clear()
                return frames
            end = begin + _HEAD + length
            if len(self._kept) < end:
                break
            frames.append(bytes(self._kept[begin + _HEAD : end]))
            begin = end
        del self._kept[:begin]
        return frames

    @property
    def torn(self) -> bool:
        """Whether a frame has begun and is not complete: an end of the channel now cut it off."""
        return bool(self._kept)
