"""Configuration sections of the operator's side: the console, its users, how they log in, the web UI.

Composed into the machine's document by `daemons/config.py`. Unknown keys, roles and keys that are no OpenSSH
public key lines are errors with a reason, before any socket opens.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from core.config import Host, Port, PublicKey, Section, repeated
from core.password import check_stored
from core.role import DaemonName
from protocol.totp import secret_octets

Kex = Literal["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"]
Cipher = Literal["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr"]
Mac = Literal["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"]
Way = Literal["key", "password", "key+totp", "password+totp"]
_BANNER = 4000


def _free_name(value: str) -> str:
    """`service` is support's user; `local` is whoever works on the machine itself."""
    if value in {"local", "service"}:
        raise ValueError(f"the name {value} is taken by Gatepost itself; choose another")
    return value


def _stored_password(value: str) -> str:
    return check_stored(value) if value else value


def _one_time_secret(value: str) -> str:
    if value:
        secret_octets(value)
    return value


def _shown_as_it_is(value: str) -> str:
    if any(not (char.isprintable() or char == "\n") for char in value):
        raise ValueError("a banner is shown before anybody has logged in: letters and line ends only")
    return value


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if twice := repeated(values):
        raise ValueError(f"the same twice: {', '.join(twice)}")
    return values


class ConsoleSection(Section):
    """The operator console over SSH."""

    address: Host = Field(default="127.0.0.1", description="address to listen on")
    port: Port = Field(default=22, description="port to listen on")
    service: bool = Field(default=True, description="take support sessions that come through the tunnel")
    idle_s: float = Field(default=1800, ge=30, le=86400, description="seconds without input after which a session ends")
    login_timeout_s: float = Field(default=20, ge=1, le=120, description="seconds a client gets to log in")
    connections: int = Field(default=100, ge=1, le=10000, description="most connections at a time")
    status_log_s: float = Field(
        default=60, ge=0, le=86400, description="seconds between lines of the status log; 0 = none"
    )
    connections_per_source: int = Field(
        default=10, ge=1, le=1000, description="most connections of one address that have not logged in yet"
    )
    banner: Annotated[str, AfterValidator(_shown_as_it_is)] = Field(
        default="", max_length=_BANNER, description="text that is shown before the log-in"
    )
    paging: bool = Field(default=True, description="stop after each page of a long output on a terminal")
    kex: Annotated[tuple[Kex, ...], AfterValidator(_each_once)] = Field(
        default=("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"),
        min_length=1,
        description="key exchanges that are offered, the best first",
    )
    ciphers: Annotated[tuple[Cipher, ...], AfterValidator(_each_once)] = Field(
        default=("aes256-gcm@openssh.com", "aes128-gcm@openssh.com"),
        min_length=1,
        description="ciphers that are offered, the best first; aes256-ctr only for clients without AES-GCM",
    )
    macs: Annotated[tuple[Mac, ...], AfterValidator(_each_once)] = Field(
        default=("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
        min_length=1,
        description="MACs that are offered, the best first; AES-GCM needs none",
    )


class LoginSection(Section):
    """Passwords of the console's users, and what happens after failures to log in."""

    least_length: int = Field(default=8, ge=8, le=64, description="characters that a new password has at least")
    age_days: int = Field(
        default=0, ge=0, le=3650, description="days after which a password has to be changed at log-in; 0 = never"
    )
    failures: int = Field(
        default=5,
        ge=0,
        le=100,
        description="failures of one address, or wrong codes of one user, before a lock; a user's passwords are"
        " locked after three times as many; 0 = nobody is locked out",
    )
    lock_s: float = Field(
        default=60, ge=1, le=86400, description="seconds of the first lock; each further is twice that"
    )
    lock_longest_s: float = Field(default=3600, ge=1, le=604800, description="… up to this")


class UserSection(Section):
    """One user of the console and of the web side."""

    name: Annotated[str, AfterValidator(_free_name)] = Field(
        description="user name", pattern=r"^[a-z_][a-z0-9._-]{0,31}$"
    )
    role: Literal["administrator", "operator", "guest"] = Field(
        default="guest", description="administrator (everything), operator (mail and quarantine) or guest (looks on)"
    )
    keys: tuple[PublicKey, ...] = Field(default=(), description="public keys, as `TYPE BASE64 COMMENT` lines")
    password: Annotated[str, AfterValidator(_stored_password)] = Field(
        default="",
        description="what `gatepost password` prints; empty = no log-in with a password, nor on the web side",
    )
    login: Annotated[tuple[Way, ...], AfterValidator(_each_once)] = Field(
        default=("key",),
        min_length=1,
        description="ways to log in to the console, any of which is enough: key, password, key+totp, password+totp",
    )
    totp_secret: Annotated[str, AfterValidator(_one_time_secret)] = Field(
        default="", description="base32 secret of the one-time codes; `userconfig totp` makes it"
    )
    recovery_secret: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = Field(
        default=(), max_length=20, description="digests of the recovery codes, which `userconfig totp` makes"
    )
    must_change: bool = Field(default=False, description="ask for a new password at the next log-in with one")
    password_at: float = Field(default=0, ge=0, description="when the password was set, UNIX time; 0 = not known")
    commands: tuple[str, ...] | None = Field(
        default=None, description="the only commands that this user may run, without a shell; left out: all of the role"
    )

    @model_validator(mode="after")
    def _codes_have_a_secret(self) -> "UserSection":
        if not self.totp_secret and any("totp" in way for way in self.login):
            raise ValueError("login asks for codes, and totp_secret is missing; `userconfig totp NEW` makes one")
        return self


class WebSection(Section):
    """The web side over HTTPS: /xml/status and /metrics, for users that have a password."""

    address: Host = Field(default="127.0.0.1", description="address to listen on")
    port: Port = Field(default=443, description="port to listen on")


class HealthSection(Section):
    """Health and figures for programs, over plain HTTP without log-in: /healthz, /readyz and /metrics."""

    enabled: bool = Field(default=True, description="whether the daemon `web` listens here")
    address: Host = Field(
        default="127.0.0.1", description="address to listen on; whoever reaches it sees the figures of this machine"
    )
    port: Port = Field(default=9825, description="port to listen on")
    leave_out: Annotated[tuple[DaemonName, ...], AfterValidator(_each_once)] = Field(
        default=(), description="daemons that are not run on this machine, so that nobody misses them"
    )
