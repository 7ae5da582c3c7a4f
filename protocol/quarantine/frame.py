"""The metadata frame of the quarantine channel: what one appliance tells the other about a message.

It goes ahead of MAIL as the payload of XCPQMETA: one JSON object, version 1, every field bounded
(docs/protocol/quarantine.md, "Frame"). `encode_frame` shortens what only explains (reason, matched text,
decisions) and refuses what it may not shorten; `decode_frame` refuses all that breaks a bound. Both raise
`FrameError`. Nothing here knows a socket, a clock or how either side stores the message.
"""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

from protocol.quarantine.bounded import FrameError, Reader, parse_object

VERSION = 1
MAX_FRAME = 4 * 1024 * 1024
MAX_RECIPIENTS = 10_000
MAX_ADDRESS = 320
MAX_HOLDS = 64
MAX_EDITS = 500
MAX_STAGES = 100
MAX_DECISIONS = 500
MAX_NAME = 128
MAX_TEXT = 1_000
MAX_VALUE = 16_384
MAX_TRACE = 65_536
MAX_ID = (1 << 63) - 1
MAX_RID = (1 << 32) - 1
"""What a done-record holds."""
TRANSFER_ID = 16
DIRECTIONS = ("hold", "release")
RECIPIENT_STATES = ("held", "released")

_TRACE = re.compile(rb"(?:[!-9;-~]+:[^\r\n\0]*\r\n(?:[ \t][^\r\n\0]*\r\n)*)*")
_FRAME_FIELDS = (
    ("sender_serial", 64),
    ("origin_serial", 64),
    ("sender", MAX_ADDRESS),
    ("listener", MAX_NAME),
    ("remote_ip", 64),
    ("remote_host", 255),
    ("helo", 512),
    ("protocol", 32),
    ("tls", MAX_NAME),
    ("sender_group", MAX_NAME),
    ("policy", MAX_NAME),
    ("body", 16),
    ("subject", MAX_TEXT),
)
_LATER_FIELDS = (
    ("ret", 8),
    ("envid", 500),
    ("authenticated", MAX_ADDRESS),
    ("require_tls", 8),
    ("bounce_profile", MAX_NAME),
    ("original_sender", MAX_ADDRESS),
)
"""Fields that a peer of an older release does not send, and passes over when it gets them."""
_SHORTENED = frozenset({"helo", "tls", "subject", "remote_host"})


@dataclass(frozen=True, slots=True)
class FrameRecipient:
    """One recipient that is on its way with the message, and what became of it on the sending side."""

    rid: int
    address: str
    original: str = ""
    state: str = "held"
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class FrameEdit:
    """One header edit still to be applied when the message leaves for good."""

    action: str
    name: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class FrameDecision:
    """One decision already taken: the verdict of a finished stage."""

    stage: str
    rule: str
    input: str
    verdict: str
    microseconds: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameHold:
    """One quarantine that is to hold the message (or held it), why, and until when (0 = its own retention)."""

    quarantine: str
    reason: str
    matched: str = ""
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """All that travels with one message beside its content, which is unchanged."""

    direction: str
    transfer_id: bytes
    sender_serial: str
    sender_mid: int
    origin_serial: str
    origin_mid: int
    icid: int = 0
    received_at: float
    sender: str
    recipients: tuple[FrameRecipient, ...]
    size: int
    sha256: bytes
    listener: str = ""
    remote_ip: str = ""
    remote_host: str = ""
    helo: str = ""
    protocol: str = ""
    tls: str = ""
    sender_group: str = ""
    policy: str = ""
    body: str = "7BIT"
    smtputf8: bool = False
    trace: bytes = b""
    subject: str = ""
    bounce_of: int = 0
    finished: tuple[str, ...] = ()
    edits: tuple[FrameEdit, ...] = ()
    decisions: tuple[FrameDecision, ...] = ()
    holds: tuple[FrameHold, ...] = ()
    hold_count: int = 0
    ret: str = ""
    envid: str = ""
    authenticated: str = ""
    require_tls: str = ""
    bounce_profile: str = ""
    original_sender: str = ""


def encode_frame(frame: Frame) -> bytes:
    """Give the payload of XCPQMETA. Raises `FrameError` if the message cannot be described within the bounds."""
    document: dict[str, Any] = {
        "v": VERSION,
        "direction": frame.direction,
        "transfer_id": _base64(frame.transfer_id),
        "sender_mid": frame.sender_mid,
        "origin_mid": frame.origin_mid,
        "icid": frame.icid,
        "received_at": frame.received_at,
        "size": frame.size,
        "sha256": _base64(frame.sha256),
        "smtputf8": frame.smtputf8,
        "trace": _base64(frame.trace),
        "bounce_of": frame.bounce_of,
        "finished": list(frame.finished),
        "hold_count": frame.hold_count,
        "recipients": [_recipient_document(one) for one in frame.recipients],
        "edits": [{"action": one.action, "name": one.name, "value": one.value} for one in frame.edits],
        "decisions": [_decision_document(one) for one in frame.decisions[-MAX_DECISIONS:]],
        "holds": [_hold_document(one) for one in frame.holds],
    }
    for name, octets in _FRAME_FIELDS:
        value = getattr(frame, name)
        document[name] = _shorten(value, octets) if name in _SHORTENED else value
    for name, _ in _LATER_FIELDS:
        if value := getattr(frame, name):
            document[name] = value
    try:
        data = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except ValueError:
        raise FrameError("a field is not Unicode text or not a finite number") from None
    decode_frame(data)  # what the peer would refuse is found here, before a connection is spent on it
    return data


def decode_frame(data: bytes) -> Frame:
    """Read the payload of XCPQMETA. Raises `FrameError` naming the first field that breaks a rule."""
    if len(data) > MAX_FRAME:
        raise FrameError(f"longer than {MAX_FRAME} octets")
    reader = Reader(parse_object(data))
    if reader.number("v", MAX_ID) != VERSION:
        raise FrameError(f"v is not {VERSION}")
    texts = {name: reader.text(name, octets) for name, octets in _FRAME_FIELDS}
    texts |= {name: reader.text(name, octets, "") for name, octets in _LATER_FIELDS}
    if not texts["sender_serial"] or not texts["origin_serial"]:
        raise FrameError("sender_serial or origin_serial is empty")
    frame = Frame(
        **texts,
        direction=reader.choice("direction", DIRECTIONS),
        transfer_id=reader.octets("transfer_id", TRANSFER_ID, exactly=TRANSFER_ID),
        sender_mid=reader.number("sender_mid", MAX_ID),
        origin_mid=reader.number("origin_mid", MAX_ID),
        icid=reader.number("icid", MAX_ID),
        received_at=reader.moment("received_at"),
        recipients=_recipients(reader),
        size=reader.number("size", MAX_ID),
        sha256=reader.octets("sha256", 32, exactly=32),
        smtputf8=reader.flag("smtputf8"),
        trace=_trace(reader),
        bounce_of=reader.number("bounce_of", MAX_ID),
        finished=tuple(reader.texts("finished", MAX_STAGES, MAX_NAME)),
        edits=tuple(_edit(row) for row in reader.rows("edits", MAX_EDITS)),
        decisions=tuple(_decision(row) for row in reader.rows("decisions", MAX_DECISIONS)),
        holds=_holds(reader),
        hold_count=reader.number("hold_count", 1_000_000),
    )
    if frame.direction == "hold" and not frame.holds:
        raise FrameError("holds names no quarantine")
    return frame


def _trace(reader: Reader) -> bytes:
    """Read header lines that will stand in front of the content, on the wire to others: no bare CR or LF there."""
    trace = reader.octets("trace", MAX_TRACE)
    if not _TRACE.fullmatch(trace):
        raise FrameError("trace is not header lines that end in CRLF")
    return trace


def _recipients(reader: Reader) -> tuple[FrameRecipient, ...]:
    rows = reader.rows("recipients", MAX_RECIPIENTS, lowest=1)
    found = tuple(
        FrameRecipient(
            row.number("rid", MAX_RID),
            row.text("address", MAX_ADDRESS),
            row.text("original", MAX_ADDRESS),
            row.choice("state", RECIPIENT_STATES),
            row.text("notify", 64, ""),
            row.text("orcpt", 512, ""),
        )
        for row in rows
    )
    if len({one.rid for one in found}) != len(found):
        raise FrameError("recipients has one rid twice")
    if not all(one.address for one in found):
        raise FrameError("recipients has an empty address")
    return found


def _holds(reader: Reader) -> tuple[FrameHold, ...]:
    found = tuple(
        FrameHold(
            row.text("quarantine", MAX_NAME),
            row.text("reason", MAX_TEXT),
            row.text("matched", MAX_TEXT),
            row.moment("expires_at"),
        )
        for row in reader.rows("holds", MAX_HOLDS)
    )
    if len({one.quarantine for one in found}) != len(found) or not all(one.quarantine for one in found):
        raise FrameError("holds has an empty name or one name twice")
    return found


def _edit(row: Reader) -> FrameEdit:
    return FrameEdit(
        row.choice("action", ("insert", "strip", "replace", "splice")),
        row.text("name", MAX_NAME),
        row.text("value", MAX_VALUE, breaks=True),
    )


def _decision(row: Reader) -> FrameDecision:
    return FrameDecision(
        row.text("stage", MAX_NAME),
        row.text("rule", MAX_TEXT),
        row.text("input", MAX_TEXT),
        row.text("verdict", MAX_TEXT),
        row.number("microseconds", MAX_ID),
        row.moment("at"),
    )


def _recipient_document(one: FrameRecipient) -> dict[str, Any]:
    document = {"rid": one.rid, "address": one.address, "original": one.original, "state": one.state}
    if one.notify:
        document["notify"] = one.notify
    if one.orcpt:
        document["orcpt"] = one.orcpt
    return document


def _decision_document(one: FrameDecision) -> dict[str, Any]:
    return {
        "stage": _shorten(one.stage, MAX_NAME),
        "rule": _shorten(one.rule, MAX_TEXT),
        "input": _shorten(one.input, MAX_TEXT),
        "verdict": _shorten(one.verdict, MAX_TEXT),
        "microseconds": max(0, one.microseconds),
        "at": one.at,
    }


def _hold_document(one: FrameHold) -> dict[str, Any]:
    return {
        "quarantine": one.quarantine,
        "reason": _shorten(one.reason, MAX_TEXT),
        "matched": _shorten(one.matched, MAX_TEXT),
        "expires_at": one.expires_at,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _shorten(text: str, octets: int) -> str:
    """Make text that only explains fit: no control characters, no lone surrogates, cut at a character."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.encode("utf-8", "replace")[:octets].decode("utf-8", "ignore")
