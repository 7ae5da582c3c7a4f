"""The JSON documents of `quarantine list` and `quarantine show` (design, section 11). Pure; ids are strings."""

from collections.abc import Sequence
from email.header import decode_header, make_header
from typing import Any

from cpq.held import HeldIn, Message
from protocol.quarantine.frame import Frame, decode_frame

HEADER_LIMIT = 256 * 1024
"""Octets of content in which headers are looked for."""


def list_document(messages: Sequence[Message], *, more: bool) -> dict[str, Any]:
    """Give one page; `next` continues it."""
    return {
        "messages": [message_document(one) for one in messages],
        "next": messages[-1].id if messages and more else None,
    }


def message_document(message: Message) -> dict[str, Any]:
    """Give one message as a list shows it. `mid` is its number on `appliance`, `quarantine_mid` the one here."""
    return {
        "id": message.id,
        "appliance": message.origin_serial,
        "mid": str(message.origin_mid),
        "quarantine_mid": str(message.mid),
        "sender": message.sender,
        "recipients": list(message.recipients),
        "subject": message.subject,
        "size": message.size,
        "state": message.state.value,
        "hold_count": message.hold_count,
        "quarantines": [_quarantine(one) for one in message.holds],
        "received_at": message.received_at,
        "held_at": message.held_at,
    }


def _quarantine(one: HeldIn) -> dict[str, Any]:
    return {
        "name": one.quarantine,
        "asked_name": one.asked,
        "reason": one.reason,
        "matched": one.matched,
        "state": one.state.value,
        "expires_at": one.expires_at or None,
        "held_at": one.held_at,
        "left_at": one.left_at or None,
    }


def show_document(message: Message, head: bytes) -> dict[str, Any]:
    """Give one message with headers and decisions; `head` is the beginning of its content, empty if it has left."""
    frame = decode_frame(message.frame)
    return {
        **message_document(message),
        "headers": headers(frame.trace + head),
        "decisions": [
            {
                "stage": one.stage,
                "rule": one.rule,
                "input": one.input,
                "verdict": one.verdict,
                "microseconds": one.microseconds,
                "at": one.at,
            }
            for one in frame.decisions
        ],
        "finished_stages": list(frame.finished),
        "facts": _facts(frame),
        "edits": [{"action": one.action, "name": one.name, "value": one.value} for one in frame.edits],
    }


def _facts(frame: Frame) -> dict[str, Any]:
    return {
        "icid": str(frame.icid),
        "listener": frame.listener,
        "remote_ip": frame.remote_ip,
        "remote_host": frame.remote_host,
        "helo": frame.helo,
        "protocol": frame.protocol,
        "tls": frame.tls,
        "sender_group": frame.sender_group,
        "policy": frame.policy,
    }


def headers(content: bytes) -> list[dict[str, str]]:
    """Give the header fields in order, unfolded, encoded words decoded; stops at the first line that is none."""
    found: list[list[str]] = []
    for line in content.split(b"\r\n"):
        text = line.decode("utf-8", "replace")
        if text[:1] in (" ", "\t") and found:
            found[-1][1] += " " + text.strip()
        elif ":" in text and text[:1] not in (" ", "\t"):
            name, _, value = text.partition(":")
            found.append([name.strip(), value.strip()])
        else:
            break
    return [{"name": name, "value": _decoded(value)} for name, value in found]


def _decoded(value: str) -> str:
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (ValueError, LookupError):
        return value
