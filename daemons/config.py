"""The configuration document of each role: the sections of all features put together.

A document is one TOML file per machine. `document_of` looks at the role first, so that what is wrong is said in
terms of that role. What crosses features is checked here; each feature checks its own sections.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from core.alert.config import AlertRecipientSection, AlertsSection
from core.config import (
    ApplianceSection,
    DnsSection,
    LogSection,
    RuntimeSection,
    Section,
    read_toml,
    repeated,
)
from core.errors import ConfigError, Problem
from core.log.config import LogSubscriptions
from cpq.config import EsaCpqSection, QuarantineSection, SmaCpqSection, policy_of
from mail.config import DeliverySections, MailSections
from mail.delivery.config import RouteSection
from ops.config import ConsoleSection, UserSection, WebSection
from tunnel.config import BastionSection, KeydSection, TunnelSection


def _names_differ(users: tuple[UserSection, ...]) -> tuple[UserSection, ...]:
    if twice := repeated(user.name for user in users):
        raise ValueError(f"the same name twice: {', '.join(twice)}")
    return users


def _quarantines_fit(sections: tuple[QuarantineSection, ...]) -> tuple[QuarantineSection, ...]:
    policy_of(sections)
    return sections


Users = Annotated[
    tuple[UserSection, ...], AfterValidator(_names_differ), Field(default=(), description="users of the console")
]


class Document(Section):
    """What every machine has."""

    appliance: ApplianceSection
    dns: DnsSection = DnsSection()
    log: LogSection = LogSection()
    runtime: RuntimeSection = RuntimeSection()
    alerts: AlertsSection = AlertsSection()
    alert_recipient: tuple[AlertRecipientSection, ...] = Field(
        default=(), max_length=100, description="who gets alerts of which classes"
    )
    console: ConsoleSection = ConsoleSection()
    user: Users = ()
    web: WebSection = WebSection()
    log_subscription: LogSubscriptions = ()


class Appliance(Document):
    """What both appliances have: they queue, deliver and dial the bastion."""

    tunnel: TunnelSection = TunnelSection()


class Esa(MailSections, Appliance):
    """A mail gateway."""

    cpq: EsaCpqSection = EsaCpqSection()


class Sma(DeliverySections, Appliance):
    """A management host."""

    route: tuple[RouteSection, ...] = Field(default=(), max_length=10_000, description="SMTP routes")
    cpq: SmaCpqSection = SmaCpqSection()
    quarantine: Annotated[tuple[QuarantineSection, ...], AfterValidator(_quarantines_fit)] = ()


class Bastion(Document):
    """The support organisation's host."""

    bastion: BastionSection
    keyd: KeydSection = KeydSection()


DOCUMENTS: dict[str, type[Document]] = {"esa": Esa, "sma": Sma, "bastion": Bastion}


def document_of(config: Path) -> type[Document]:
    """Give the kind of document that a file's role asks for. Raises `ConfigError` if it names none."""
    appliance = read_toml(config).get("appliance")
    role = appliance.get("role") if isinstance(appliance, dict) else None
    if role not in DOCUMENTS:
        roles = ", ".join(DOCUMENTS)
        raise ConfigError([Problem(str(config), "appliance.role", f"one of {roles} is needed (found {role!r})")])
    return DOCUMENTS[role]
