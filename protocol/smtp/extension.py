"""The SMTP service extensions of the server: what EHLO announces, which parameters and line lengths they add.

The machine's dialect is compiled from `EXTENSIONS`; a new extension is one more entry here and, where it has a
verb, one more handler. Checks return the reply that refuses, or None. Knows no session and no state.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.reply import Reply

if TYPE_CHECKING:
    from protocol.smtp.settings import ServerSettings

Check = Callable[[str | None, "ServerSettings"], Reply | None]
Announce = Callable[["ServerSettings", bool], str | None]

_NUMBER: Final = re.compile(r"[0-9]{1,20}")
TOO_LARGE: Final = Reply(552, "5.3.4", "#5.3.4 message size exceeds limit")
_BAD_SIZE: Final = Reply(501, "5.5.4", "Syntax: SIZE=octets")
_BAD_BODY: Final = Reply(501, "5.5.4", "Syntax: BODY=7BIT or BODY=8BITMIME")


@dataclass(frozen=True)
class Extension:
    """One extension: its EHLO line (None = not now), its MAIL and RCPT parameters, its line allowances per verb."""

    announce: Announce
    mail: Mapping[str, Check] = field(default_factory=dict)
    rcpt: Mapping[str, Check] = field(default_factory=dict)
    allowance: Mapping[str, int] = field(default_factory=dict)


def _always(line: str) -> Announce:
    return lambda settings, secure: line


def _announce_size(settings: "ServerSettings", _: bool) -> str:
    return f"SIZE {settings.size_limit}" if settings.size_limit else "SIZE"


def _announce_starttls(settings: "ServerSettings", secure: bool) -> str | None:
    return "STARTTLS" if settings.starttls and not secure else None


def _check_size(value: str | None, settings: "ServerSettings") -> Reply | None:
    """RFC 1870 6.1: a declared size over the limit is refused at MAIL."""
    if value is None or not _NUMBER.fullmatch(value):
        return _BAD_SIZE
    return TOO_LARGE if settings.size_limit and int(value) > settings.size_limit else None


def _check_body(value: str | None, _: "ServerSettings") -> Reply | None:
    return None if value is not None and value.upper() in {"7BIT", "8BITMIME"} else _BAD_BODY


EXTENSIONS: Final = (
    Extension(_always("PIPELINING")),  # RFC 2920
    Extension(_announce_size, mail={"SIZE": _check_size}, allowance={"MAIL": 26}),  # RFC 1870
    Extension(_announce_starttls),  # RFC 3207
    Extension(_always("ENHANCEDSTATUSCODES")),  # RFC 2034
    Extension(_always("8BITMIME"), mail={"BODY": _check_body}, allowance={"MAIL": 17}),  # RFC 6152
    Extension(_always("CHUNKING")),  # RFC 3030
)
