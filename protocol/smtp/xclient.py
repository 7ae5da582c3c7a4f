"""XCLIENT: a listed peer tells for whom it speaks (the verb that Postfix defined, attributes in xtext).

The server machine parses the command and hands the result to its connection, which starts the conversation again as
that client (core/smtp/connection.py). Raises `CommandError` with the reply for what is malformed.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple

from protocol.reply import Reply
from protocol.smtp.command import CommandError
from protocol.smtp.conversation import Peer
from protocol.smtp.extension import Extension

ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
EXTENSION: Final = Extension(
    lambda settings, secure: None if secure else f"XCLIENT {' '.join(ATTRIBUTES)}", allowance={"XCLIENT": 1536}
)
"""Only in the dialect of listed peers."""
NOT_LISTED: Final = Reply(550, "5.7.0", "XCLIENT is not for you")
MALFORMED: Final = Reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
_UNAVAILABLE: Final = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_XTEXT: Final = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX: Final = re.compile(rb"\+([0-9A-F]{2})")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254})")


class Introduction(NamedTuple):
    """What a listed peer said, and the octets that followed in the same group."""

    attributes: dict[str, str]
    """By keyword; what is unavailable is empty."""
    rest: bytes


def parse_xclient(argument: bytes) -> dict[str, str]:
    """Read the attributes."""
    found: dict[str, str] = {}
    for word in argument.split():
        key, sign, value = word.partition(b"=")
        keyword = key.decode("ascii", "replace").upper()
        if not sign or keyword not in ATTRIBUTES or keyword in found or not _XTEXT.fullmatch(value):
            raise CommandError(MALFORMED)
        text = _HEX.sub(lambda match: bytes([int(match[1], 16)]), value).decode("utf-8", "replace")
        text = "" if text.upper() in _UNAVAILABLE else text
        if text and not _CHECKS[keyword](text):
            raise CommandError(Reply(501, "5.5.4", f"Bad {keyword} value"))
        found[keyword] = text
    if not found:
        raise CommandError(MALFORMED)
    return found


def introduced(peer: Peer, attributes: dict[str, str]) -> Peer:
    """Give the peer as it is to be seen from here; what was not said stays, a name only with its address."""
    host = _address(attributes.get("ADDR", "")) or peer.host
    moved = "ADDR" in attributes and host != peer.host
    name = attributes.get("NAME", "" if moved else peer.name)
    return Peer(
        host=host,
        port=int(attributes.get("PORT") or peer.port),
        local_host=_address(attributes.get("DESTADDR", "")) or peer.local_host,
        local_port=int(attributes.get("DESTPORT") or peer.local_port),
        name=name,
        verified=bool(name) if "NAME" in attributes or moved else peer.verified,
        helo=attributes.get("HELO", peer.helo),
        protocol=attributes.get("PROTO", peer.protocol).upper(),
        login=attributes.get("LOGIN", peer.login),
    )


def _address(text: str) -> str:
    return str(ip_address(text[5:] if text[:5].upper() == "IPV6:" else text)) if text else ""


def _is_address(text: str) -> bool:
    """Tell whether this is an address; the zone of one (RFC 4007), which may be any text, means nothing here."""
    try:
        return bool(_address(text)) and "%" not in text
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


def _is_text(text: str) -> bool:
    return text.isprintable() and len(text) <= 255


_CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "NAME": lambda text: _NAME.fullmatch(text) is not None,
    "ADDR": _is_address,
    "PORT": _is_port,
    "PROTO": lambda text: text.upper() in ("SMTP", "ESMTP"),
    "HELO": _is_text,
    "LOGIN": _is_text,
    "DESTADDR": _is_address,
    "DESTPORT": _is_port,
}
