"""Who may log in, made from a machine's configuration for the console, the web side and the commands about users."""

from collections.abc import Callable, Sequence

from core.maillog import Log
from cpq.pair import COMMAND_USER, LISTENER_COMMAND
from cpq.pairing import Pairings
from daemons.config import Document
from daemons.machine import Machine
from ops.access.gate import Gate, terms_of
from ops.access.record import FILE, Records
from ops.cli.account import KEY, Account, Role, account_book
from ops.cli.guard import Door
from ops.cli.server import ConsoleSettings
from ops.config import UserSection

_DAY_S = 86400.0


def accounts_of(document: Document) -> list[Account]:
    """Give the configured users."""
    return [_account(user) for user in document.user]


def _account(user: UserSection) -> Account:
    return Account(
        user.name,
        Role(user.role),
        user.keys,
        None if user.commands is None else frozenset(user.commands),
        frozenset(user.login),
        user.password,
        user.totp_secret,
        frozenset(user.recovery_secret),
        user.must_change,
        user.password_at,
    )


def door_of(machine: Machine) -> Door:
    """Give what the console's guards go by."""
    document, pairings = machine.document, machine.pairings()
    users = accounts_of(document)
    book = account_book(users, COMMAND_USER, _command_keys(pairings), [LISTENER_COMMAND.removesuffix(" --json")])
    return Door(
        book,
        passwords=any(user.password and user.ways - {KEY} for user in users),
        codes=any(user.totp_secret for user in users),
        banner=document.console.banner,
        password_age_s=document.login.age_days * _DAY_S,
    )


def _command_keys(pairings: Pairings) -> Callable[[], Sequence[str]]:
    return lambda: [one.command_key for one in pairings.all()]


def settings_of(machine: Machine) -> ConsoleSettings:
    """Give the settings of the console's server."""
    section = machine.document.console
    algorithms = {"kex_algs": section.kex, "encryption_algs": section.ciphers, "mac_algs": section.macs}
    return ConsoleSettings(
        section.address,
        section.port,
        section.idle_s,
        section.login_timeout_s,
        section.connections,
        section.connections_per_source,
        section.paging,
        machine.state / "history",
        algorithms,
    )


def gate_of(machine: Machine, log: Log, front: str) -> Gate:
    """Give the gate of a daemon; its `records` are a service."""
    return Gate(Records(machine.state / FILE, front), log.info, terms=terms_of(machine.document.login))
