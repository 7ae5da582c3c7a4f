"""The values of MAIL and RCPT parameters: what is well formed, and the reply to what is not.

Used by `extension.py`. A check gets the value (None = the keyword alone) and the listener's settings and returns the
reply that refuses, or None. Sources: RFC 1870 6.1, RFC 6152 2, RFC 3030 3, RFC 6531 3.4, RFC 3461 4, RFC 6533 3,
RFC 4954 5, RFC 8689 2. Knows no session and no state.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.dsn import xtext_decode
from protocol.reply import Reply

if TYPE_CHECKING:
    from protocol.smtp.settings import ServerSettings

Check = Callable[[str | None, "ServerSettings"], Reply | None]

TOO_LARGE: Final = Reply(552, "5.3.4", "#5.3.4 message size exceeds limit")
ENVID_LIMIT: Final = 100
"""Octets of ENVID as it is sent (RFC 3461 4.4)."""
ORCPT_LIMIT: Final = 500
"""Octets of ORCPT as it is sent (RFC 3461 4.2)."""

_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_NOTIFY: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")
_UTF8_ADDRESS: Final = re.compile(r"(?:[!-*,-<>-\[\]-~\u00a0-\U0010ffff]|\\x\{([0-9A-F]{2,6})\})+")
_CODE_POINT: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")

_BAD_SIZE: Final = Reply(501, "5.5.4", "Syntax: SIZE=octets")
_BAD_BODY: Final = Reply(501, "5.5.4", "Syntax: BODY=7BIT, BODY=8BITMIME or BODY=BINARYMIME")
_BAD_FLAG: Final = Reply(501, "5.5.4", "This parameter takes no value")
_BAD_RET: Final = Reply(501, "5.5.4", "Syntax: RET=FULL or RET=HDRS")
_BAD_ENVID: Final = Reply(501, "5.5.4", "Syntax: ENVID=xtext, at most 100 octets")
_BAD_NOTIFY: Final = Reply(501, "5.5.4", "Syntax: NOTIFY=NEVER, or a list of SUCCESS, FAILURE and DELAY")
_BAD_ORCPT: Final = Reply(501, "5.5.4", "Syntax: ORCPT=type;address in xtext, at most 500 octets")
_BAD_AUTH: Final = Reply(501, "5.5.4", "Syntax: AUTH=<> or AUTH=address in xtext")


def check_size(value: str | None, settings: "ServerSettings") -> Reply | None:
    """Refuse at MAIL what is declared over the limit."""
    if value is None or not _NUMBER.fullmatch(value):
        return _BAD_SIZE
    return TOO_LARGE if settings.size_limit and int(value) > settings.size_limit else None


def check_body(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take the three kinds of body."""
    return None if value is not None and value.upper() in {"7BIT", "8BITMIME", "BINARYMIME"} else _BAD_BODY


def check_flag(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take a keyword without a value: SMTPUTF8, REQUIRETLS."""
    return None if value is None else _BAD_FLAG


def check_ret(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take what a report is to return of the message."""
    return None if value is not None and value.upper() in {"FULL", "HDRS"} else _BAD_RET


def check_envid(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take an envelope identifier: xtext of printable ASCII."""
    sound = value is not None and len(value) <= ENVID_LIMIT and _PRINTABLE.fullmatch(_plain(value))
    return None if sound else _BAD_ENVID


def check_notify(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take when to report: NEVER alone, or each of the others at most once."""
    words = (value or "").upper().split(",")
    sound = words == ["NEVER"] or (_NOTIFY.issuperset(words) and len(set(words)) == len(words))
    return None if sound else _BAD_NOTIFY


def check_orcpt(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take an original recipient: a type and an address, in xtext or in the forms of RFC 6533 for `utf-8`."""
    kind, mark, address = (value or "").partition(";")
    sound = mark and _TYPE.fullmatch(kind) and len(value or "") <= ORCPT_LIMIT
    if sound and kind.lower() == "utf-8":
        sound = _is_utf8_address(address)
    elif sound:
        sound = _PRINTABLE.fullmatch(_plain(address)) is not None
    return None if sound else _BAD_ORCPT


def check_auth(value: str | None, _: "ServerSettings") -> Reply | None:
    """Take who submitted a message at first: `<>` for unknown, else an address in xtext."""
    sound = value is not None and _PRINTABLE.fullmatch(_plain(value))
    return None if sound else _BAD_AUTH


def _plain(xtext: str) -> str:
    """Undo xtext; '' for what is none."""
    try:
        return xtext_decode(xtext)
    except ValueError:
        return ""


def _is_utf8_address(text: str) -> bool:
    if _UTF8_ADDRESS.fullmatch(text) is None:
        return False
    points = [int(found, 16) for found in _CODE_POINT.findall(text)]
    return all(_is_character(point) for point in points)


def _is_character(point: int) -> bool:
    """Say whether a code point is a character that an address may hold: none that controls, no surrogate."""
    return 0x20 <= point <= 0x10FFFF and not 0x7F <= point <= 0x9F and not 0xD800 <= point <= 0xDFFF
