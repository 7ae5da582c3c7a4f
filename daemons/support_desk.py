"""What the commands of the support organisation (`gatepost bastion …`) share: the bastion's store, keyd, the audit.

Used by the `support_*` modules. The daemon may run meanwhile or not. What a command changes is a line of
log/support.jsonl, a chained log of its own, since the bastion is the one writer of its audit log.
"""

import argparse
import fcntl
import getpass
import os
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from core.control import call
from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_NOPERM, EX_OK, EX_USAGE, GatepostError
from core.runtime import run
from daemons.config import Bastion
from daemons.machine import Machine, machine_for
from tunnel.audit import AuditLog
from tunnel.bastion.store import Enrolled, Store, open_store
from tunnel.config import BastionSection
from tunnel.identity import is_name, is_word
from tunnel.keyd.client import SOCKET, Keyd

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """Where a command works: one bastion."""

    machine: Machine
    store: Store

    @property
    def section(self) -> BastionSection:
        """Give the bastion's section of the configuration."""
        return cast(Bastion, self.machine.document).bastion

    @property
    def keyd(self) -> Keyd:
        """Give the keyd of this machine."""
        return Keyd(self.machine.socket("keyd").with_name(SOCKET))

    def note(self, event: str, **facts: Any) -> None:
        """Write down what is about to be done, and by whom. Raises status 77 where this cannot be written."""
        path = self.machine.dir / "log" / "support.jsonl"
        try:
            with open(path.with_suffix(".lock"), "w", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                log = AuditLog(path)
                log.write(event, user=user_name(), **facts)
                log.close()
        except OSError as error:
            raise GatepostError(
                f"{path}: what is not logged must not happen: {error.strerror}; run it as the bastion's user", EX_NOPERM
            ) from error

    async def recheck(self) -> None:
        """Have the bastion look now at what it would look at in some seconds; it need not run."""
        with suppress(GatepostError):
            await call(self.machine.socket("bastion"), "recheck", 5)


def user_name() -> str:
    """Name who runs the command: the login behind sudo where there is one."""
    with suppress(KeyError, OSError):
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return str(os.getuid())


def at_desk(args: argparse.Namespace, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Open the bastion's store, do one command's work with it, and close it."""
    return run(_at_desk(machine_for(f"gatepost bastion {args.verb}", args.config, ("bastion",)), work))


async def _at_desk(machine: Machine, work: Callable[[Desk], Awaitable[T]]) -> T:
    section = cast(Bastion, machine.document).bastion
    store = open_store(section.database, machine.dir)
    try:
        await store.begin()
        return await work(Desk(machine, store))
    finally:
        await store.close()


def add_common(parsers: Collection[argparse.ArgumentParser], action: Callable[[argparse.Namespace], int]) -> None:
    """Give parsers what every command has."""
    for parser in parsers:
        parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the machine's gatepost.toml")
        parser.set_defaults(action=action)


def add_json(*parsers: argparse.ArgumentParser) -> None:
    """Give parsers the option of a document in place of text."""
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print one JSON document")


def tell(args: argparse.Namespace, document: Any, text: str) -> int:
    """Print a command's result: the document where --json asks for it, else the text."""
    shown = msgspec.json.format(msgspec.json.encode(document)).decode() if getattr(args, "json", False) else text
    print(shown)
    return EX_OK


def write_out(file: Path, text: str) -> None:
    """Write a file that may be carried away. Raises status 73 with the remedy."""
    try:
        replace_file(Disk(), file, text.encode(), mode=0o644)
    except OSError as error:
        raise GatepostError(
            f"{file}: cannot be written: {error.strerror}; choose another place with --out", EX_CANTCREAT
        ) from error


def serial_name(text: str) -> str:
    """Read a serial number from a command line; gives it in lower case."""
    if not is_name(text.lower()):
        raise GatepostError(f"{text!r} is not a serial number", EX_USAGE)
    return text.lower()


def word(text: str, what: str) -> str:
    """Read the name of an engineer or the number of a case from a command line."""
    if not is_word(text):
        raise GatepostError(f"{what} {text!r}: letters, digits, '.', '_' and '-', at most 64", EX_USAGE)
    return text


def stamp(at: float) -> str:
    """Show a time, `never` for none."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "never"


def last_seen(appliance: Enrolled, now: float) -> str:
    """Say in a few words when an appliance was last heard of."""
    if not appliance.last_seen_at:
        return "it has never come in"
    minutes = int((now - appliance.last_seen_at) // 60)
    ago = f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours" if minutes < 2880 else ""
    return f"last seen {stamp(appliance.last_seen_at)}" + (f", {ago} ago" if ago else "")
