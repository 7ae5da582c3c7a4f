"""Who gives a command: roles, accounts with their keys, and the caller that a logged-in account becomes.

The SSH server finds accounts by user name and key, the executor asks a caller what it may run.
Nothing here knows SSH, sockets or configuration files: keys are the text of OpenSSH public key lines.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol


class Role(StrEnum):
    """What an operator may do; each command names the roles that may run it."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    GUEST = "guest"
    SUPPORT = "support"


EVERYONE = frozenset(Role)
STAFF = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
USERS = EVERYONE - {Role.SUPPORT}
"""Those who stand in the configuration."""
INSPECTORS = STAFF | {Role.SUPPORT}
ADMINISTRATORS = frozenset({Role.ADMINISTRATOR})


KEY, PASSWORD, KEY_CODE, PASSWORD_CODE = "key", "password", "key+totp", "password+totp"
WAYS = (KEY, PASSWORD, KEY_CODE, PASSWORD_CODE)
"""The ways to log in; an account names those that it may take, any one of which is enough."""


@dataclass(frozen=True)
class Account:
    """A user of the console: name, role, public keys as `TYPE BASE64 [COMMENT]` lines, and how he may log in."""

    name: str
    role: Role
    keys: tuple[str, ...]
    commands: frozenset[str] | None = None
    """Names of the only commands that this account may run, without a shell; None = all of its role."""
    ways: frozenset[str] = frozenset({KEY})
    password: str = field(default="", repr=False)
    """As it is stored; '' = none."""
    totp_secret: str = field(default="", repr=False)
    recovery: frozenset[str] = field(default=frozenset(), repr=False)
    """Digests of the recovery codes."""
    must_change: bool = False
    """Whether a new password is asked for at the next log-in with one."""
    password_at: float = 0.0
    """When the password was set; 0 = not known."""

    @cached_property
    def blobs(self) -> frozenset[bytes]:
        """The keys as they come over the wire. One damaged line, in a pairing say, must not lock the others out."""
        found = set()
        for line in self.keys:
            try:
                found.add(base64.b64decode([*line.split(), "", ""][1], validate=True))
            except (binascii.Error, ValueError):
                continue
        return frozenset(found - {b""})


@dataclass
class Grant:
    """What may become of a log-in while it lasts; the connection and all its sessions look at one."""

    revoked: bool = False
    """The account is gone or has other rights now: nothing more may be run."""
    must_change: bool = False
    """Nothing but a change of the password may be run."""


class Accounts(Protocol):
    """Where the server looks accounts up, at every login."""

    def __call__(self, name: str) -> Sequence[Account]:
        """Give the accounts of that user name; several where keys of one name have different rights."""


def account_book(
    users: Iterable[Account], client: str, client_keys: Callable[[], Iterable[str]], commands: Collection[str]
) -> Accounts:
    """Look up the configured users, and under the name `client` whoever paired: its keys may run `commands` only."""
    configured = list(users)

    def accounts(name: str) -> Sequence[Account]:
        found = [account for account in configured if account.name == name]
        if name == client:
            found.append(Account(client, Role.GUEST, tuple(client_keys()), frozenset(commands)))
        return found

    return accounts


@dataclass(frozen=True)
class Caller:
    """Who runs a command, as the audit log names it."""

    name: str
    role: Role
    source: str = "local"
    """Address of the client, or `local`, or the channel it came through."""
    identity: str = ""
    """Key id of the certificate of a support engineer."""
    commands: frozenset[str] | None = None
    before: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The log-in before this one: `at`, `source`, `way`, `failures` since then; empty where none is known."""
    grant: Grant = field(default_factory=Grant, compare=False, repr=False)
    shell: Callable[[], Awaitable[int]] | None = field(default=None, compare=False, repr=False)
    """Lends the caller's terminal to a login shell and gives its exit status; None where there can be none."""

    @property
    def service(self) -> bool:
        """True for a support session, whose prompt says so."""
        return self.role is Role.SUPPORT

    def __str__(self) -> str:
        name = f"{self.name} ({self.identity})" if self.identity else self.name
        return f"{name} from {self.source}"


LOCAL = Caller("local", Role.ADMINISTRATOR)
"""Whoever can open the control sockets of this machine."""
