"""The configuration of delivery: routes, destinations, bounce profiles, the interfaces that mail leaves by.

`mail/config.py` puts the sections into the documents; `daemons/delivery.py` turns them into the objects that deliver.
A section checks itself; what must fit together is checked by `mail/delivery/crosscheck.py`, whose findings are told
together with all other faults of a document.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from core.config import Count, Host, Ip, Name, Port, Section, checked
from mail.bounce.config import BounceProfileSection, BouncesSection, BounceVerificationSection, TextSection
from mail.delivery.choice import EightBit, Level
from mail.delivery.crosscheck import Fault, Rows, faults_of
from mail.delivery.route import LIMIT as ROUTE_LIMIT
from mail.delivery.route import Family, Route, check_host, parse_hosts
from mail.delivery.route import check_domain as check_route_domain
from mail.delivery.tls.config import DeliveryTlsSection, TlsReportSection
from mail.delivery.unsubscribe import parse_entry
from protocol.domain import check_domain, literal_address


def _destination_domain(value: str) -> str:
    if value.upper() == "DEFAULT":
        return "DEFAULT"
    return value.lower() if literal_address(value) is not None else check_domain(value)


class RouteSection(Section):
    """A row of the SMTP route table; the most specific domain wins."""

    domain: Annotated[str, AfterValidator(check_route_domain)] = Field(
        description="domain, .partial (everything below it), [address] or ALL"
    )
    hosts: tuple[Annotated[str, AfterValidator(check_host)], ...] = Field(
        description='"host", "host:port", "[address]:port", "/dev/null", "USEDNS"; "/pri=N" after it'
    )

    @model_validator(mode="after")
    def _hosts_go_together(self) -> "RouteSection":
        parse_hosts(Route(self.domain, self.hosts))
        return self


class DestinationSection(Section):
    """Limits of a destination domain; what a row leaves out is as in the row DEFAULT, as is a domain in no row."""

    domain: Annotated[str, AfterValidator(_destination_domain)] = Field(
        default="DEFAULT", description="domain, without those below it; or DEFAULT"
    )
    max_connections: int = Field(default=500, ge=1, le=10_000, description="open connections to it")
    max_messages_per_connection: int = Field(default=50, ge=1, le=100_000, description="messages a connection")
    recipient_limit: Count = Field(default=0, description="recipients in recipient_minutes; 0 = no limit")
    recipient_minutes: int = Field(
        default=0, ge=0, le=60, description="interval of recipient_limit, 1 to 60; needed where there is one"
    )
    limit_type: Literal["host", "mxip"] = Field(
        default="host",
        description="max_connections and recipient_limit are for the whole domain (host) or each address",
    )
    limit_apply: Literal["system", "gateway"] = Field(
        default="system", description="limits are for all virtual gateways together (system), or for each (gateway)"
    )
    tls: Level = Field(
        default="preferred",
        description="off, preferred, required, preferred-verify or required-verify (by an authority, for the name)",
    )
    dane: bool = Field(default=True, description="obey its TLSA records (DANE); tls = off switches this off as well")
    mta_sts: bool = Field(default=True, description="obey its MTA-STS policy; tls = off switches this off as well")
    ip_preference: Family = Field(
        default="prefer-v4", description="which addresses are tried: prefer-v4, prefer-v6, require-v4 or require-v6"
    )
    bounce_profile: str = Field(
        default="", description="name of a bounce profile; empty = the listener's, else Default"
    )
    bounce_verification: bool = Field(default=False, description="tag the envelope sender of mail to it")

    def inheriting(self, default: "DestinationSection") -> "DestinationSection":
        """Fill in what this row leaves out from the row DEFAULT."""
        left = set(type(self).model_fields) - self.model_fields_set - {"domain"}
        return self.model_copy(update={key: getattr(default, key) for key in left})


class DeliverySection(Section):
    """Delivery as a whole."""

    max_connections: int = Field(default=10_000, ge=1, le=100_000, description="open outbound connections")
    connect_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=600,
        description="wait for a connection to one address; others of equal preference race it",
    )
    greeting_timeout_s: float = Field(default=300.0, gt=0, le=3600, description="wait for the banner")
    command_timeout_s: float = Field(default=300.0, gt=0, le=3600, description="wait for a reply to a command")
    final_timeout_s: float = Field(default=600.0, gt=0, le=3600, description="wait for the reply to a whole message")
    idle_close_s: float = Field(default=5.0, ge=0, le=300, description="an idle connection is kept this long")
    port: Port = Field(default=25, description="port of mail hosts found by MX; another one is for labs only")
    source_address: Ip | Literal[""] = Field(default="", description="local address to send from; empty = by the route")
    default_interface: Name = Field(
        default="auto", description="interface or group that mail leaves by, or auto: source_address and our host name"
    )
    eight_bit: EightBit = Field(
        default="convert",
        description="8-bit text for a host without 8BITMIME: convert it, pass it as it is, or bounce the message",
    )
    possible_delivery: bool = Field(
        default=False,
        description="no reply to a whole message counts as delivered, instead of one more try (against RFC 5321)",
    )


class InterfaceSection(Section):
    """An address that mail can leave by; as a virtual gateway it has queues, limits and host states of its own."""

    name: Name = Field(description="name of the interface, shown in views and known to filters")
    address: Ip = Field(description="local IP address that its connections come from")
    hostname: Host = Field(description="host name that its connections give in EHLO")


class InterfaceGroupSection(Section):
    """Several interfaces taken in turn, connection by connection; together they are one virtual gateway."""

    name: Name = Field(description="name of the group, different from all interfaces")
    interfaces: tuple[Name, ...] = Field(min_length=1, description="names of its interfaces")


class UnsubscribeSection(Section):
    """Recipients that get no mail from this machine, checked right before each attempt."""

    enabled: bool = Field(default=False, description="whether the list counts")
    action: Literal["drop", "bounce"] = Field(
        default="drop", description="drop without a word, or bounce to the sender"
    )
    entries: tuple[Annotated[str, AfterValidator(checked(parse_entry))], ...] = Field(
        default=(), description="user@domain, user@, @domain, @.partial or an IP address of the receiving host"
    )
    file: str = Field(
        default="", description="file with more entries, one a line, # for comments; relative to this folder"
    )


class DeliveryTables(Section):
    """The tables of delivery and what must fit together in them."""

    route: tuple[RouteSection, ...] = Field(default=(), max_length=ROUTE_LIMIT, description="SMTP routes")
    delivery: DeliverySection = Field(default=DeliverySection(), description="delivery as a whole")
    interface: tuple[InterfaceSection, ...] = Field(default=(), description="addresses that mail can leave by")
    interface_group: tuple[InterfaceGroupSection, ...] = Field(default=(), description="interfaces taken in turn")
    destination: tuple[DestinationSection, ...] = Field(default=(), description="limits of destinations")
    bounce_profile: tuple[BounceProfileSection, ...] = Field(
        default=(), description="bounce profiles; Default is always there"
    )
    text: tuple[TextSection, ...] = Field(default=(), description="texts of reports")
    bounces: BouncesSection = Field(default=BouncesSection(), description="reports of this machine as a whole")
    bounce_verification: BounceVerificationSection = Field(
        default=BounceVerificationSection(), description="tags on envelope senders, and keys for them"
    )
    unsubscribe: UnsubscribeSection = Field(default=UnsubscribeSection(), description="global unsubscribe list")
    delivery_tls: DeliveryTlsSection = Field(default=DeliveryTlsSection(), description="outbound TLS as a whole")
    tls_report: TlsReportSection = Field(default=TlsReportSection(), description="reports on TLS (RFC 8460)")

    @model_validator(mode="wrap")
    @classmethod
    def _fits_together(cls, data: Any, handler: ModelWrapValidatorHandler["DeliveryTables"]) -> "DeliveryTables":
        """Add what does not fit together to what is wrong by itself, so that all is told at once."""
        problems: list[InitErrorDetails] = []
        document: DeliveryTables | None = None
        try:
            document = handler(data)
        except ValidationError as error:
            problems += map(_again, error.errors())
        if isinstance(data, Mapping):
            rows = _rows(cls, data) if document is None else _sound(document, data)
            problems += map(_problem, faults_of(rows))
        if document is None or problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return document


def _again(found: Any) -> InitErrorDetails:
    return InitErrorDetails(type=_worded(found["type"], found["msg"]), loc=found["loc"], input=found["input"])


def _problem(fault: Fault) -> InitErrorDetails:
    # A mapping as the input, so that no value is shown besides the reason.
    return InitErrorDetails(type=_worded("contradiction", fault.reason), loc=fault.at, input={})


def _worded(kind: Any, text: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{text}", {"text": text})


_TABLES = ("route", "destination", "bounce_profile", "text", "interface", "interface_group", "alt_source", "listener")


def _sound(document: DeliveryTables, data: Mapping[str, Any]) -> Rows:
    """Give the rows of a document that has no fault in itself."""
    tables = {name: tuple(enumerate(getattr(document, name, ()))) for name in _TABLES}
    return Rows(_hostname(data), document.delivery, smtp_users=_users(data), **tables)


def _rows(model: type[DeliveryTables], data: Mapping[str, Any]) -> Rows:
    """Give the rows that are sound by themselves."""
    tables = {name: _sound_rows(model, name, data.get(name)) for name in _TABLES}
    try:
        delivery = DeliverySection.model_validate(data.get("delivery", {}))
    except ValidationError:
        delivery = None
    return Rows(_hostname(data), delivery, smtp_users=_users(data), **tables)


def _sound_rows(model: type[DeliveryTables], name: str, rows: Any) -> tuple[tuple[int, Any], ...]:
    """Give the rows of a table that can be read one by one."""
    field = model.model_fields.get(name)
    if field is None or not isinstance(rows, list | tuple):
        return ()
    row_type = TypeAdapter(get_args(field.annotation)[0])
    sound = []
    for number, row in enumerate(rows):
        try:
            sound.append((number, row_type.validate_python(row)))
        except ValidationError:
            continue  # told by the document's own validation
    return tuple(sound)


def _hostname(data: Mapping[str, Any]) -> str:
    appliance = data.get("appliance")
    return str(appliance.get("hostname", "")) if isinstance(appliance, Mapping) else ""


def _users(data: Mapping[str, Any]) -> int:
    rows = data.get("smtp_user")
    return len(rows) if isinstance(rows, list | tuple) else 0
