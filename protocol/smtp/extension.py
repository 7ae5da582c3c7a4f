"""The SMTP service extensions of the server: what EHLO announces, which parameters and line lengths they add.

The machine's dialect is compiled from a listener's extensions; a new one is one more entry here and, where it has a
verb, one more handler. Their parameters are checked in `parameter.py`. Knows no session and no state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.smtp.parameter import (
    Check,
    check_auth,
    check_body,
    check_envid,
    check_flag,
    check_notify,
    check_orcpt,
    check_ret,
    check_size,
)

if TYPE_CHECKING:
    from protocol.smtp.settings import ServerSettings

Announce = Callable[["ServerSettings", bool], str | None]
AUTH_LINE_LIMIT: Final = 12288
"""One line of a log-in with its CRLF (RFC 4954 4)."""


@dataclass(frozen=True)
class Extension:
    """One extension: its EHLO line (None = not now), its MAIL and RCPT parameters, its line allowances per verb."""

    announce: Announce
    mail: Mapping[str, Check] = field(default_factory=dict)
    rcpt: Mapping[str, Check] = field(default_factory=dict)
    allowance: Mapping[str, int] = field(default_factory=dict)


def _always(line: str) -> Announce:
    return lambda settings, secure: line


def _under_tls(line: str) -> Announce:
    return lambda settings, secure: line if secure else None


def _announce_size(settings: "ServerSettings", _: bool) -> str:
    return f"SIZE {settings.size_limit}" if settings.size_limit else "SIZE"


def _announce_starttls(settings: "ServerSettings", secure: bool) -> str | None:
    return "STARTTLS" if settings.starttls and not secure else None


def _announce_auth(settings: "ServerSettings", secure: bool) -> str | None:
    return f"AUTH {' '.join(settings.auth_mechanisms)}" if settings.auth_mechanisms and secure else None


_PIPELINING: Final = Extension(_always("PIPELINING"))  # RFC 2920
_SIZE: Final = Extension(_announce_size, mail={"SIZE": check_size}, allowance={"MAIL": 26})  # RFC 1870
_STARTTLS: Final = Extension(_announce_starttls)  # RFC 3207
_AUTH: Final = Extension(
    _announce_auth, mail={"AUTH": check_auth}, allowance={"MAIL": 500, "AUTH": AUTH_LINE_LIMIT - 512}
)  # RFC 4954
_CODES: Final = Extension(_always("ENHANCEDSTATUSCODES"))  # RFC 2034
_BODY: Final = Extension(_always("8BITMIME"), mail={"BODY": check_body}, allowance={"MAIL": 17})  # RFC 6152
_UTF8: Final = Extension(
    _always("SMTPUTF8"), mail={"SMTPUTF8": check_flag}, allowance={"MAIL": 10, "VRFY": 10}
)  # RFC 6531
_CHUNKING: Final = Extension(_always("CHUNKING"))  # RFC 3030
_BINARY: Final = Extension(_always("BINARYMIME"))  # RFC 3030, a value of BODY
_DSN: Final = Extension(
    _always("DSN"),
    mail={"RET": check_ret, "ENVID": check_envid},
    rcpt={"NOTIFY": check_notify, "ORCPT": check_orcpt},
    allowance={"MAIL": 116, "RCPT": 536},
)  # RFC 3461: ` RET=FULL`, ` ENVID=` and 100 octets; ` NOTIFY=SUCCESS,FAILURE,DELAY`, ` ORCPT=` and 500
_REQUIRETLS: Final = Extension(
    _under_tls("REQUIRETLS"), mail={"REQUIRETLS": check_flag}, allowance={"MAIL": 11}
)  # RFC 8689

CARRIAGE: Final = (_PIPELINING, _SIZE, _STARTTLS, _CODES, _BODY, _UTF8, _CHUNKING, _BINARY)
"""What carries content of every kind from one machine of ours to another."""
EXTENSIONS: Final = (
    *(_PIPELINING, _SIZE, _STARTTLS, _AUTH, _CODES, _BODY, _UTF8, _CHUNKING, _BINARY),
    *(_DSN, _REQUIRETLS),
)
"""What a listener that takes mail from anybody offers."""
