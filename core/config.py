"""Configuration documents: typed, frozen sections read from one TOML file per machine.

Each feature declares its sections in its own `config.py`; `daemons/config.py` composes them into one document
per role. A document is read whole and every problem is reported at once, each with file, key and reason
(`ConfigError`, exit status 78), before any socket opens.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from core import toml
from core.errors import ConfigError, Problem
from core.fault import worded
from core.name_server import name_server
from core.time_zone import check_zone
from core.tls_rules import MODERN, VERSIONS, WIDE, TlsRules, check_ciphers, check_versions

_SECRET_WORDS = frozenset({"password", "passphrase", "secret", "token", "credential", "psk", "seed", "private"})
_KILO = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_KEY = re.compile(r"(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ssh-rsa) ([A-Za-z0-9+/]+={0,2})( [^\r\n]*)?")


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def is_host(value: str) -> bool:
    """Tell whether a text can be an address or a host name."""
    return bool(value) and all(ord(c) > 32 for c in value)


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("an address or host name without blanks is needed")
    try:
        value.encode("idna")  # what the system's resolver does first, and dies of
    except UnicodeError:
        raise ValueError("no host has such a name: a part of it is empty or longer than 63 characters") from None
    return value


def _size(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,12})([KMG]?)", value.strip().upper(), re.ASCII)
        if match is None:
            raise ValueError("a size is a number of octets, or a number followed by K, M or G")
        return int(match[1]) * _KILO[match[2]]
    return value


def _ip(value: str) -> str:
    try:
        ip_address(value.partition("%")[0])
    except ValueError:
        raise ValueError("an IP address is needed") from None
    return value


def _public_key(value: str) -> str:
    found = _KEY.fullmatch(value)
    if not found:
        raise ValueError("not a public key line: TYPE BASE64 [COMMENT], ssh-ed25519 or ssh-rsa, without options")
    try:
        blob = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        raise ValueError("the base64 part of the public key is damaged; copy the whole line") from None
    kind = found[1].encode()
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind):
        raise ValueError("the public key is not of the type that its line says")
    return value


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Make a validator that keeps a text as it is if `check` does not raise `ValueError`."""

    def validate(value: str) -> str:
        check(value)
        return value

    return validate


def _domain(value: str) -> None:
    labels = value.rstrip(".").split(".")
    if not all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", one) for one in labels):
        raise ValueError("a domain name is needed")


Host = Annotated[str, AfterValidator(_host)]
HostOrNone = Annotated[str, AfterValidator(lambda value: _host(value) if value else "")]
Port = Annotated[int, Field(ge=1, le=65535)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Ip = Annotated[str, AfterValidator(_ip)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]


def repeated(values: Iterable[str]) -> list[str]:
    """Give the values that occur more than once, whatever their case, each once."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for value in values:
        if value.lower() in seen:
            twice[value] = None
        seen.add(value.lower())
    return list(twice)


PublicKey = Annotated[str, AfterValidator(_public_key)]


class ApplianceSection(Section):
    """Who this machine is."""

    role: str = Field(description="esa, sma or bastion")
    serial: str = Field(
        description="serial number, made by `gatepost init`", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
    )
    hostname: Host = Field(description="full host name; banner, HELO and Received lines carry it")
    timezone: Annotated[str, AfterValidator(checked(check_zone))] = Field(
        default="", description="zone in which logs and the console show times, such as Europe/Berlin; empty = system's"
    )


class PrivateDomainSection(Section):
    """A domain that name servers of one's own know."""

    domain: Annotated[str, AfterValidator(checked(_domain))] = Field(
        description="the domain and all below it; in-addr.arpa domains too"
    )
    servers: tuple[Annotated[str, AfterValidator(checked(name_server))], ...] = Field(
        min_length=1, max_length=20, description='"address", "address:port" or with a priority "address/pri=1"'
    )


class DnsSection(Section):
    """Where names are looked up."""

    servers: tuple[Annotated[str, AfterValidator(checked(name_server))], ...] = Field(
        default=(),
        max_length=20,
        description='"address", "address:port" or with a priority "address/pri=1" of each server, 0 first; empty ='
        " /etc/resolv.conf",
    )
    root: bool = Field(default=False, description="ask the root servers of the Internet and those below, not `servers`")
    private: tuple[PrivateDomainSection, ...] = Field(
        default=(), max_length=1000, description="domains that other servers are asked for"
    )
    timeout_s: float = Field(default=5.0, gt=0, le=60, description="seconds for one question, all tries")
    reverse_timeout_s: float = Field(
        default=20.0, ge=0, le=60, description="longest wait for the host name of an address; 0 = none is looked up"
    )
    validating: bool | None = Field(
        default=None, description="believe them on DNSSEC (DANE needs it); unset = only if all are on this machine"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "DnsSection":
        if self.root and self.servers:
            raise ValueError("root = true asks the root servers: leave servers out, or root")
        if self.root and self.validating:
            raise ValueError("validating = true needs servers that validate: root servers do not")
        if twice := repeated(row.domain for row in self.private):
            raise ValueError(f"private domains twice: {', '.join(twice)}")
        return self


def _spoken(value: tuple[str, ...]) -> tuple[str, ...]:
    check_versions(value)
    return tuple(sorted(set(value)))


Versions = Annotated[tuple[Literal["1.2", "1.3"], ...], AfterValidator(_spoken)]
Ciphers = Annotated[str, AfterValidator(checked(check_ciphers))]


class TlsSection(Section):
    """TLS of the web side (gui), of mail that comes in (inbound) and of mail that goes out (outbound)."""

    gui_versions: Versions = Field(default=VERSIONS, description="TLS versions: 1.2 and 1.3")
    gui_ciphers: Ciphers = Field(default=MODERN, description="ciphers of TLS 1.2, as OpenSSL writes them")
    inbound_versions: Versions = Field(default=VERSIONS, description="as gui_versions")
    inbound_ciphers: Ciphers = Field(default=MODERN, description="as gui_ciphers")
    outbound_versions: Versions = Field(default=VERSIONS, description="as gui_versions")
    outbound_ciphers: Ciphers = Field(default=WIDE, description="as gui_ciphers")
    receiving_certificate: str = Field(
        default="", description="name of the [[certificate]] that listeners show; empty = keys/tls.crt"
    )
    delivery_certificate: str = Field(
        default="", description="name of the [[certificate]] shown to hosts that ask for one; empty = none"
    )
    https_certificate: str = Field(
        default="", description="name of the [[certificate]] of the web side; empty = keys/tls.crt"
    )

    @property
    def gui(self) -> TlsRules:
        """What the web side speaks."""
        return TlsRules(self.gui_versions, self.gui_ciphers)

    @property
    def inbound(self) -> TlsRules:
        """What listeners speak."""
        return TlsRules(self.inbound_versions, self.inbound_ciphers)

    @property
    def outbound(self) -> TlsRules:
        """What delivery speaks."""
        return TlsRules(self.outbound_versions, self.outbound_ciphers)


class CertificateSection(Section):
    """A certificate beside keys/tls.crt; listeners also show it to clients that ask for one of its names (SNI)."""

    name: str = Field(
        default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$", description="name that [tls] calls it by"
    )
    certificate: str = Field(description="PEM file with the chain, relative to this document's folder")
    key: str = Field(description="PEM file with its private key")


class LogSection(Section):
    """The text mail log and its level."""

    level: int = Field(default=3, ge=1, le=5, description="1 critical, 2 warning, 3 information, 4 debug, 5 trace")
    max_bytes: int = Field(default=100 * 1024 * 1024, ge=64 * 1024, description="a log file rolls over at this size")
    keep: int = Field(default=10, ge=1, le=1000, description="rolled-over files kept")
    message_id: bool = Field(default=True, description="the mail log has the Message-ID of each message")
    subject: bool = Field(default=True, description="the mail log has the subject that each message came with")
    remote_response: bool = Field(default=True, description="the mail log has what the next host said to the content")
    headers: tuple[Annotated[str, Field(pattern=r"^[!-9;-~]{1,80}$")], ...] = Field(
        default=(), max_length=20, description="header fields that stand in the mail log when a message is delivered"
    )


class RuntimeSection(Section):
    """How every daemon of this machine starts and stops."""

    grace_s: float = Field(
        default=10.0,
        ge=0,
        le=600,
        description="seconds that work in hand gets after SIGTERM before it is cancelled",
    )


_D = TypeVar("_D", bound=BaseModel)


def _key(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def is_secret(key: str) -> bool:
    """Tell by its name whether a key of the configuration holds something that nobody is to read."""
    words = key.lower().replace("-", "_").split("_")
    return any(word in _SECRET_WORDS for word in words)


def problems_of(error: ValidationError, file: str) -> list[Problem]:
    """Translate what pydantic found into problems that an operator can act on."""
    found = []
    for item in error.errors():
        # A password that stands there in the clear would be in the mail log from then on.
        secret = any(isinstance(part, str) and is_secret(part) for part in item["loc"])
        found.append(Problem(file, _key(item["loc"]), worded(item, secret=secret)))
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises `ConfigError` naming line and column if it is not one."""
    try:
        return toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError([Problem(str(path), "", f"not valid TOML: {error}")]) from error


def load_document(path: Path, model: type[_D], further: Sequence[Problem] = ()) -> _D:
    """Read and check a whole document. Raises `ConfigError` with every problem."""
    return check_document(read_toml(path), model, str(path), further)


def check_document(tables: Mapping[str, Any], model: type[_D], file: str, further: Sequence[Problem] = ()) -> _D:
    """Check a whole document that was read already; `file` is what problems name. Raises `ConfigError` with all."""
    try:
        document = model.model_validate(tables)
    except ValidationError as error:
        raise ConfigError([*problems_of(error, file), *further]) from error
    if further:
        raise ConfigError(further)
    return document
