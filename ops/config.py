"""Configuration sections of the operator's side: the console, its users, the web UI.

Composed into the machine's document by `daemons/config.py`. Unknown keys, roles and keys that are no OpenSSH
public key lines are errors with a reason, before any socket opens.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from core.config import Host, Port, PublicKey, Section
from core.password import check_stored


def _stored_password(value: str) -> str:
    return check_stored(value) if value else value


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


class UserSection(Section):
    """One user of the console."""

    name: str = Field(description="user name", pattern=r"^[a-z_][a-z0-9._-]{0,31}$")
    role: Literal["administrator", "operator", "guest"] = Field(
        default="guest", description="administrator (everything), operator (mail and quarantine) or guest (looks on)"
    )
    keys: tuple[PublicKey, ...] = Field(default=(), description="public keys, as `TYPE BASE64 COMMENT` lines")
    password: Annotated[str, AfterValidator(_stored_password)] = Field(
        default="", description="for the web side: what `gatepost password` prints; empty = no log-in there"
    )
    commands: tuple[str, ...] | None = Field(
        default=None, description="the only commands that this user may run, without a shell; left out: all of the role"
    )


class WebSection(Section):
    """The web side over HTTPS: /xml/status and /metrics, for users that have a password."""

    address: Host = Field(default="127.0.0.1", description="address to listen on")
    port: Port = Field(default=443, description="port to listen on")
