"""The verbs and replies of the SMTP extension XCPQ, version 1 (docs/protocol/quarantine.md).

Written by the sending side, read by the receiving side, and the other way round for replies. Standard library
only. What a peer got wrong is raised as `FrameError` with words that may be shown to it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from protocol.quarantine.bounded import FrameError
from protocol.quarantine.frame import MAX_FRAME, MAX_NAME, TRANSFER_ID
from protocol.reply import Reply

KEYWORD = "XCPQ"
KEYWORD_LINE = "XCPQ 1"
PROBE = "XCPQSTAT"
METADATA = "XCPQMETA"
SETTLE = "XCPQDONE"
VERBS = (PROBE, METADATA, SETTLE)
MAX_SETTLED = 1_000
"""Transfer ids in one XCPQDONE."""
MAX_QUARANTINES = 100
"""Quarantines that a probe names; `count` says how many there are."""

_OCTETS = re.compile(r"[1-9][0-9]{0,9}")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_%+=-]{1,64}(?:\.[A-Za-z0-9_%+=-]+)*@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*")
_STAND_IN_DOMAIN = "xcpq.invalid"
STAND_IN_SENDER = f"sender@{_STAND_IN_DOMAIN}"
_NAME_SAFE = "!#$&'()*,-./:;<>?@[]^_`{|}"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a probe tells: who answers, what it takes, and whether it takes it now."""

    serial: str
    direction: str
    accepting: bool
    reason: str = ""
    quarantines: tuple[str, ...] = ()


def offers(keyword_lines: Iterable[str]) -> bool:
    """Tell whether an EHLO answer (lines after the first) offers version 1 of the extension."""
    for line in keyword_lines:
        words = line.upper().split()
        if words[:1] == [KEYWORD]:
            return "1" in words[1:]
    return False


def payload_octets(verb: str, argument: str) -> tuple[int, str]:
    """Read the octet count of XCPQMETA or XCPQDONE: give it and '' or what is wrong with so many octets.

    Raises `FrameError` if there is no count: nobody knows then where the payload ends, and the connection has to go.
    """
    if not _OCTETS.fullmatch(argument):
        raise FrameError(f"{verb} needs the number of octets that follow")
    count = int(argument)
    limit = MAX_FRAME if verb == METADATA else MAX_SETTLED * TRANSFER_ID
    if count > limit:
        return count, f"{verb} takes at most {limit} octets"
    if verb == SETTLE and count % TRANSFER_ID:
        return count, f"{verb} takes whole transfer ids of {TRANSFER_ID} octets"
    return count, ""


def command_line(verb: str, payload: bytes = b"") -> str:
    """Give the command line, without CRLF, that announces `payload`."""
    return f"{verb} {len(payload)}" if payload else verb


def encode_settled(transfer_ids: Sequence[bytes]) -> bytes:
    """Give the payload of XCPQDONE: ids of 16 octets, one after the other."""
    if not 0 < len(transfer_ids) <= MAX_SETTLED or any(len(one) != TRANSFER_ID for one in transfer_ids):
        raise FrameError(f"{SETTLE} takes 1 to {MAX_SETTLED} transfer ids of {TRANSFER_ID} octets")
    return b"".join(transfer_ids)


def decode_settled(payload: bytes) -> list[bytes]:
    """Split the payload of XCPQDONE into transfer ids."""
    if len(payload) % TRANSFER_ID or not payload:
        raise FrameError(f"{SETTLE} takes whole transfer ids of {TRANSFER_ID} octets")
    return [payload[at : at + TRANSFER_ID] for at in range(0, len(payload), TRANSFER_ID)]


def probe_reply(readiness: Readiness) -> Reply:
    """Write the answer to XCPQSTAT: one `name value` a line."""
    lines = [f"serial {readiness.serial}", f"takes {readiness.direction}"]
    if readiness.accepting:
        lines.append("accepting yes")
    else:
        lines.append(f"accepting no {quote(readiness.reason[:200], safe=_NAME_SAFE + ' ')}".rstrip())
    lines.append(f"count {len(readiness.quarantines)}")
    lines += [f"quarantine {quote(name, safe=_NAME_SAFE)}" for name in readiness.quarantines[:MAX_QUARANTINES]]
    return Reply(250, "2.0.0", tuple(lines))


def parse_probe(lines: Sequence[str]) -> Readiness:
    """Read the text lines of a 250 answer to XCPQSTAT; lines with unknown names are ignored."""
    found: dict[str, str] = {}
    names = []
    for line in lines[: MAX_QUARANTINES + 20]:
        name, _, value = line.removeprefix("2.0.0 ").strip().partition(" ")
        if name == "quarantine":
            names.append(unquote(value)[:MAX_NAME])
        else:
            found.setdefault(name, value)
    if not found.get("serial") or "accepting" not in found:
        raise FrameError("the peer's answer to the probe names no serial or no readiness")
    word, _, reason = found["accepting"].partition(" ")
    return Readiness(found["serial"][:64], found.get("takes", ""), word == "yes", unquote(reason), tuple(names))


def envelope_address(address: str, rid: int | None) -> str:
    """Give the address that MAIL (`rid` None) or RCPT carries for an address of the frame.

    The frame is what counts. An address that plain SMTP (RFC 5321, no SMTPUTF8) may take differently than it was
    meant, such as one outside ASCII, quoted, or without a domain, goes as a stand-in under `xcpq.invalid`.
    """
    if not address and rid is None:
        return ""
    if len(address) <= 254 and _PLAIN_ADDRESS.fullmatch(address):
        return address
    return STAND_IN_SENDER if rid is None else f"rid-{rid}@{_STAND_IN_DOMAIN}"
