"""The bastion that a command of the support organisation works on: its store, its keyd, a log of what was changed.

Used by the commands of this package. The daemon may run meanwhile or not. What a command changes is a line of
log/support.jsonl, a chained log of its own, since the bastion is the one writer of its audit log.
"""

import argparse
import fcntl
import getpass
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from core.control import call
from core.errors import EX_NOPERM, EX_TEMPFAIL, GatepostError
from core.runtime import run
from daemons.config import Bastion
from daemons.machine import Machine, machine_for
from tunnel.audit import AuditLog
from tunnel.bastion.store import Store, open_store
from tunnel.config import BastionSection
from tunnel.keyd.client import SOCKET, Keyd

T = TypeVar("T")

LOCK_S = 10.0
"""How long a command waits for another one that writes its line."""


@dataclass(frozen=True)
class OpenedBastion:
    """One bastion, opened for one command."""

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
            with _alone(path.with_suffix(".lock")):
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


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that only its owner can open: whoever may read a file can lock it. Raises status 75 after a while."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(lock).st_mode & 0o077:
            os.fchmod(lock, 0o600)
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    text = f"{path}: another process holds this lock for {LOCK_S:g} s; `fuser {path}` names it"
                    raise GatepostError(text, EX_TEMPFAIL) from None
            time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def user_name() -> str:
    """Name who runs the command: the login behind sudo where there is one."""
    with suppress(KeyError, OSError):
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return str(os.getuid())


def with_bastion(args: argparse.Namespace, work: Callable[[OpenedBastion], Awaitable[T]]) -> T:
    """Open the bastion's store, do one command's work with it, and close it."""
    return run(_with_bastion(machine_for(f"gatepost bastion {args.verb}", args.config, ("bastion",)), work))


async def _with_bastion(machine: Machine, work: Callable[[OpenedBastion], Awaitable[T]]) -> T:
    section = cast(Bastion, machine.document).bastion
    store = open_store(section.database, machine.dir)
    try:
        await store.begin()
        return await work(OpenedBastion(machine, store))
    finally:
        await store.close()
