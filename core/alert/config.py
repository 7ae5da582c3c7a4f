"""The configuration of alerts: how they are sent, and who gets which."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from core.alert.kind import reaches, split_choice
from core.config import HostOrNone, Port, Section, Size
from core.config.document import check_document
from core.config.section import DnsSection

_MAILBOX = r"^[!-?A-~]+@[!-?A-~]+$"
_LONGEST = 320
Mailbox = Annotated[str, Field(pattern=_MAILBOX, max_length=_LONGEST)]


def is_mailbox(text: str) -> bool:
    """Tell whether a text can stand as a mail address in the configuration."""
    return len(text) <= _LONGEST and re.fullmatch(_MAILBOX, text) is not None


def _choice(text: str) -> str:
    name, least = split_choice(text)
    return f"{name}/{least}" if least else name


class AlertsSection(Section):
    """Alerts to people by mail, on a path that does not use the queue."""

    recipients: tuple[Mailbox, ...] = Field(
        default=(), max_length=100, description="addresses that alerts of all classes go to; see [[alert_recipient]]"
    )
    severity: Literal["info", "warning", "critical"] = Field(default="info", description="the least that is sent")
    sender: Annotated[str, Field(pattern=r"^([!-?A-~]+@[!-?A-~]+)?$", max_length=320)] = Field(
        default="", description="envelope sender and From; empty = alert@ and the host name"
    )
    host: HostOrNone = Field(
        default="", description="mail host that takes them; empty = the MX of the recipient's domain"
    )
    port: Port = Field(default=25, description="its port")
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="longest attempt on one host")
    repeat_s: float = Field(
        default=300.0, ge=0, le=86400, description="the same alert again after this at the earliest, then twice that …"
    )
    repeat_longest_s: float = Field(default=3600.0, ge=0, le=86400, description="… up to this")
    per_hour: int = Field(default=60, ge=1, le=10_000, description="alerts of all kinds within an hour")


class AlertRecipientSection(Section):
    """Somebody who gets alerts of some classes."""

    address: Mailbox = Field(description="mail address")
    classes: tuple[Annotated[str, AfterValidator(_choice)], ...] = Field(
        default=("All",),
        min_length=1,
        max_length=50,
        description="All, System, Mail, Queue, Quarantine, RemoteAccess, TLS, DirectoryHarvest, Log; with the least"
        " severity where it is another than below: System/Critical",
    )
    severity: Literal["info", "warning", "critical"] = Field(
        default="info", description="the least that is sent, for classes that say no other"
    )

    def takes(self, alert_class: str, severity: str) -> bool:
        """Tell whether this recipient gets an alert; what is said of the class itself counts before what All says."""
        found = dict(split_choice(one) for one in self.classes)
        least = found.get(alert_class, found.get("All"))
        return least is not None and reaches(severity, least or self.severity)


class SupportSection(Section):
    """Whom `supportrequest` writes to."""

    address: Mailbox | Literal[""] = Field(default="", description="mail address of the support organisation")
    cc: tuple[Mailbox, ...] = Field(default=(), max_length=20, description="who always gets a copy")


class DiskQuotaSection(Section):
    """How much of the disk the folders of this machine may take before people are told; nothing is deleted.

    An alert comes at 75, 85 and 95 % of a quota, and says what to delete.
    """

    disk: bool = Field(default=True, description="also alert when the file system itself is so full")
    queue: Size = Field(default=0, description="spool/queue, octets or 20G; 0 = no quota")
    quarantine: Size = Field(default=0, description="spool/quarantine, as above")
    logs: Size = Field(default=10 << 30, description="log, as above")
    captures: Size = Field(default=2 << 30, description="captures, as above")
    recordings: Size = Field(default=10 << 30, description="recordings, as above")
    configuration: Size = Field(default=1 << 30, description="configuration, as above")


def takers(section: AlertsSection, rows: Sequence[AlertRecipientSection], alert_class: str, severity: str) -> list[str]:
    """Name those who get alerts of a class and severity, each once."""
    found = list(section.recipients) if reaches(severity, section.severity) else []
    found += [row.address for row in rows if row.takes(alert_class, severity)]
    return list(dict.fromkeys(found))


class Alerting(Section):
    """What a document says of alerts, alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    alerts: AlertsSection = AlertsSection()
    alert_recipient: tuple[AlertRecipientSection, ...] = ()
    dns: DnsSection = DnsSection()
    """By which the hosts of recipients are found."""


def alerting_of(tables: Mapping[str, Any], file: str = "the configuration") -> Alerting:
    """Read what plain tables say of alerts, whatever else is in them. Raises `ConfigError`."""
    return check_document(tables, Alerting, file)
