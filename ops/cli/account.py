"""Who gives a command: roles, accounts with their keys, and the caller that a logged-in account becomes.

The SSH server finds accounts by user name and key, the executor asks a caller what it may run.
Nothing here knows SSH, sockets or configuration files: keys are the text of OpenSSH public key lines.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What an operator may do; each command names the roles that may run it."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    GUEST = "guest"
    SUPPORT = "support"


EVERYONE = frozenset(Role)
STAFF = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
INSPECTORS = STAFF | {Role.SUPPORT}
ADMINISTRATORS = frozenset({Role.ADMINISTRATOR})


@dataclass(frozen=True)
class Account:
    """A user of the console: name, role, public keys as `TYPE BASE64 [COMMENT]` lines."""

    name: str
    role: Role
    keys: tuple[str, ...]
    commands: frozenset[str] | None = None
    """Names of the only commands that this account may run, without a shell; None = all of its role."""


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
