"""The configuration of logs: `[[log_subscription]]`, and what it makes of the subscriptions that exist anyway."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from core.config import HostOrNone, Name, Port, PublicKey, Section, Size, repeated
from core.config.section import LogSection
from core.log.client import check_client
from core.log.detail import Details
from core.log.subscription import DEFAULTS, DOMAIN_DEBUG, INJECTION_DEBUG, TYPES, Push, Subscription

FACILITIES: Final = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "security", "console", "solaris-cron"),
    *(f"local{n}" for n in range(8)),
)
"""By their numbers (RFC 5424 6.2.1)."""
_MOMENT = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_PORTS = {"scp": 22, "syslog": 514}
Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "authpriv", "ftp", "cron",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip


def _moment(value: str) -> str:
    if _MOMENT.fullmatch(value) is None:
        raise ValueError("a time of day is needed, as 03:30")
    return value


def _client(value: str) -> str:
    check_client(value)
    return value


class LogSubscriptionSection(Section):
    """A log: what goes into it, when a new file is begun, how many stay, how they leave the machine."""

    name: Name = Field(description="name, and the folder below log/; of an existing log: takes its place")
    type: Literal[
        "mail", "error", "bounce", "delivery", "injection_debug", "domain_debug", "status", "cli", "system"
    ] = Field(description=", ".join(TYPES))
    enabled: bool = Field(default=True, description="false = this log is not written")
    level: int | None = Field(
        default=None, ge=1, le=5, description="1 critical, 2 warning, 3 information, 4 debug; unset = [log] level"
    )
    file_name: Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_-]{0,63})?$")] = Field(
        default="", description="first part of the names of its files; empty = after the type"
    )
    max_size: Size | None = Field(default=None, description="a file rolls over at this size; unset = [log] max_bytes")
    keep: int | None = Field(default=None, ge=1, le=1000, description="rolled-over files kept; unset = [log] keep")
    rollover_every_s: float = Field(default=0, ge=0, le=31 * 86400, description="and so often; 0 = not by time")
    rollover_at: tuple[Annotated[str, AfterValidator(_moment)], ...] = Field(
        default=(), max_length=24, description='and at these times of day, as ["00:00", "12:00"]'
    )
    clients: tuple[Annotated[str, AfterValidator(_client)], ...] = Field(
        default=(),
        max_length=100,
        description="injection debug: addresses, networks, ranges (192.0.2.1-9), host names, .partial.names",
    )
    domain: Annotated[str, Field(pattern=r"^[^\s@]{0,255}$")] = Field(
        default="", description="domain debug: recipients' domain"
    )
    sessions: int = Field(default=10, ge=1, le=1000, description="debug logs: conversations that are recorded")
    retrieval: Literal["none", "scp", "syslog"] = Field(
        default="none", description="how it leaves the machine: not, saved files by scp, lines by syslog"
    )
    host: HostOrNone = Field(default="", description="host that it is pushed to")
    port: Port | None = Field(default=None, description="its port; unset = 22, or 514 for syslog")
    user: Annotated[str, Field(pattern=r"^[^\s@/]*$")] = Field(default="", description="scp: user there")
    directory: Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$")] = Field(default="", description="scp: folder there")
    host_key: PublicKey | Literal[""] = Field(
        default="", description="scp: public key line of the host, without which nothing is sent"
    )
    transport: Literal["udp", "tcp"] = Field(default="udp", description="syslog: by datagrams or on a connection")
    syslog_format: Literal["rfc5424", "bsd"] = Field(default="rfc5424", description="syslog: form of a line")
    facility: Facility = Field(default="mail", description="syslog: facility")

    @model_validator(mode="after")
    def _whole(self) -> "LogSubscriptionSection":
        if self.max_size is not None and self.max_size < 64 * 1024:
            raise ValueError("max_size is 64K at least")
        if self.retrieval != "none" and not self.host:
            raise ValueError(f"retrieval {self.retrieval} needs a host")
        if self.retrieval == "scp" and not self.user:
            raise ValueError("retrieval scp needs a user")
        if self.type == INJECTION_DEBUG and not self.clients:
            raise ValueError("an injection debug log needs clients")
        if self.type == DOMAIN_DEBUG and not self.domain:
            raise ValueError("a domain debug log needs a domain")
        return self


def _names_differ(rows: tuple[LogSubscriptionSection, ...]) -> tuple[LogSubscriptionSection, ...]:
    if twice := repeated(row.name for row in rows):
        raise ValueError(f"the same name twice: {', '.join(twice)}")
    return rows


LogSubscriptions = Annotated[
    tuple[LogSubscriptionSection, ...],
    AfterValidator(_names_differ),
    Field(default=(), max_length=100, description="logs beside those that exist anyway, or in their place"),
]


def subscriptions_of(folder: Path, log: LogSection, rows: Sequence[LogSubscriptionSection]) -> list[Subscription]:
    """Give all that are written: the configured ones, and the usual ones that no row takes the place of."""
    given = {row.name.lower() for row in rows}
    usual = [
        LogSubscriptionSection(name=name, type=kind, level=None if kind == "mail" else level)  # type: ignore[arg-type]
        for name, (kind, level) in DEFAULTS.items()
        if name not in given
    ]
    return [_subscription(folder, log, row) for row in (*usual, *rows) if row.enabled]


def details_of(log: LogSection) -> Details:
    """Say what the mail log tells of each message."""
    return Details(log.message_id, log.subject, log.remote_response, log.headers)


def _subscription(folder: Path, log: LogSection, row: LogSubscriptionSection) -> Subscription:
    return Subscription(
        row.name,
        row.type,
        log.level if row.level is None else row.level,
        folder / row.name / f"{row.file_name or TYPES[row.type][1]}.current",
        log.max_bytes if row.max_size is None else row.max_size,
        log.keep if row.keep is None else row.keep,
        row.rollover_every_s,
        tuple(sorted({_minutes(text) for text in row.rollover_at})),
        _push(row),
        row.clients,
        row.domain.lower().rstrip("."),
        row.sessions,
    )


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _push(row: LogSubscriptionSection) -> Push | None:
    if row.retrieval == "none":
        return None
    return Push(
        row.retrieval,
        row.host,
        row.port or _PORTS[row.retrieval],
        row.user,
        row.directory,
        row.host_key,
        row.transport,
        row.syslog_format,
        FACILITIES.index(row.facility),
    )
