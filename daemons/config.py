"""The configuration document of each role: the sections of all features put together.

A document is one TOML file per machine. `document_of` looks at the role first, so that what is wrong is said in
terms of that role. What crosses features is checked here; each feature checks its own sections.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from core.alert.config import AlertRecipientSection, AlertsSection, DiskQuotaSection, SupportSection
from core.config import Section, repeated
from core.config.document import read_toml
from core.config.section import ApplianceSection, CertificateSection, DnsSection, LogSection, RuntimeSection, TlsSection
from core.errors import ConfigError, Problem
from core.log.config import LogSubscriptions
from cpq.config import EsaCpqSection, QuarantineSection, SmaCpqSection, policy_of
from mail.config import DeliverySections, MailSections
from mail.delivery.config import RouteSection
from ops.config import ConsoleSection, HealthSection, LoginSection, UserSection, WebSection
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
    support: SupportSection = SupportSection()
    disk_quota: DiskQuotaSection = DiskQuotaSection()
    tls: TlsSection = TlsSection()
    certificate: tuple[CertificateSection, ...] = Field(
        default=(), max_length=1000, description="certificates beside keys/tls.crt, for names that clients ask for"
    )
    console: ConsoleSection = ConsoleSection()
    login: LoginSection = LoginSection()
    user: Users = ()
    web: WebSection = WebSection()
    health: HealthSection = HealthSection()
    log_subscription: LogSubscriptions = ()

    @model_validator(mode="after")
    def _certificates_are_there(self) -> Self:
        names = [row.name for row in self.certificate if row.name]
        if twice := repeated(names):
            raise ValueError(f"certificate: the same name twice: {', '.join(twice)}")
        for side in ("receiving", "delivery", "https"):
            wanted = getattr(self.tls, f"{side}_certificate")
            if wanted and wanted not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"tls.{side}_certificate: no [[certificate]] is called {wanted!r}; there are: {known}")
        return self


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
    return model_of(read_toml(config), config)


def model_of(tables: Mapping[str, Any], config: Path) -> type[Document]:
    """Give the kind of document that the role in a file's tables asks for. Raises `ConfigError` if it names none."""
    appliance = tables.get("appliance")
    role = appliance.get("role") if isinstance(appliance, dict) else None
    if role not in DOCUMENTS:
        roles = ", ".join(DOCUMENTS)
        raise ConfigError([Problem(str(config), "appliance.role", f"one of {roles} is needed (found {role!r})")])
    return DOCUMENTS[role]
