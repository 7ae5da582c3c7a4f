"""The `Received:` line that Gatepost puts on top of a message, and the check that mail does not run in circles.

Called by the receiving session once per message. Sources: RFC 5321 4.4, RFC 3848 and RFC 6531 (keywords).
"""

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mail.mime import Headers

MAX_OWN_PASSES: Final = 20
"""A message that has come through this host more often than this is in a loop."""
_NAME = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from, as the trace line shows it; the same for all messages of a connection."""

    helo: str
    host: str
    """Verified name, '' if there is none."""
    ip: str
    protocol: str
    tls: str
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`, '' without TLS."""


def protocol_keyword(*, extended: bool, tls: bool, utf8: bool, authenticated: bool = False) -> str:
    """Give the `with` keyword."""
    if not extended:
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + ("S" if tls else "") + ("A" if authenticated else "")


@lru_cache(maxsize=4096)
def _opening(origin: Origin, hostname: str) -> bytes:
    helo = origin.helo if _NAME.fullmatch(origin.helo) else "unknown"
    ip = f"IPv6:{origin.ip}" if ":" in origin.ip else origin.ip
    tls = f" ({origin.tls})" if origin.tls else ""
    return (
        f"Received: from {helo} ({origin.host or 'unknown'} [{ip}])\r\n"
        f"\tby {hostname} with {origin.protocol}{tls}\r\n\tid "
    ).encode("ascii", "replace")


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return time.strftime("; %a, %d %b %Y %H:%M:%S +0000\r\n", time.gmtime(second)).encode()


def received_line(origin: Origin, hostname: str, mid: int, received_at: float) -> bytes:
    """Give the trace line of one message, ending in CRLF."""
    return b"%b%d%b" % (_opening(origin, hostname), mid, _date(int(received_at)))


def runs_in_circles(headers: Headers, hostname: bytes, max_received: int) -> bool:
    """Tell whether a message has passed too many hosts, or this one too often (RFC 5321 6.3)."""
    received = [raw for name, raw in headers.fields if name == b"received"]
    if len(received) > max_received:
        return True
    own = b"by " + hostname + b" "
    return len(received) > MAX_OWN_PASSES and sum(own in raw for raw in received) > MAX_OWN_PASSES
