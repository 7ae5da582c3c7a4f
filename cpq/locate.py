"""Where released mail is handed back: asked of the originating gateway over SSH, kept for a minute.

Runs in `release-host`, which answers the control verb `locate`; the courier in delivery-queue asks that. One question
at a time per gateway; after a failure it is not asked again for a while, and everyone who wants to know gets the same
error. Each failure is one mail log line `Application error: …` that names the appliance.
Raises `GatepostError` (69 not paired or suspended, 75 for trouble on the way).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from core.clock import Clock, monotonic
from core.errors import EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from core.maillog import MailLog, clean
from cpq.pairing import Pairing, Pairings

FRESH_S = 60.0
FIRST_BACKOFF_S = 2.0
LONGEST_BACKOFF_S = 60.0
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Location:
    """Where a gateway's cpq_listener takes released mail, and whose certificate it has to show."""

    serial: str
    address: str
    port: int


class Answer(Protocol):
    """What running a command gives; `core.ssh.CommandResult` is one."""

    @property
    def status(self) -> int:
        """Exit status."""

    @property
    def stdout(self) -> bytes:
        """Standard output."""

    @property
    def stderr(self) -> bytes:
        """Standard error."""


Ask = Callable[[Pairing], Awaitable[Answer]]
"""Runs `cpq listener --json` on the console of a paired gateway."""


class _Listener(msgspec.Struct):
    address: str
    port: int
    state: str


@dataclass(slots=True)
class _Memory:
    location: Location | None = None
    error: GatepostError | None = None
    until: float = 0.0
    backoff_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Locator:
    """Finds gateways; `alternate` takes the mail of those that are not paired any more."""

    def __init__(
        self, pairings: Pairings, ask: Ask, log: MailLog, *, alternate: str = "", clock: Clock = monotonic
    ) -> None:
        self._pairings = pairings
        self._ask = ask
        self._log = log
        self._alternate = alternate
        self._clock = clock
        self._memory: dict[str, _Memory] = {}

    async def locate(self, serial: str) -> Location:
        """Give where mail of that gateway is handed back."""
        pairing = self._pairings.named(serial) or (self._pairings.named(self._alternate) if self._alternate else None)
        if pairing is None:
            raise GatepostError(
                f"{serial} is not paired with this machine: pair it again or set an alternate release appliance",
                EX_UNAVAILABLE,
            )
        memory = self._memory.setdefault(pairing.serial, _Memory())
        async with memory.lock:
            if self._clock() >= memory.until:
                await self._learn(pairing, memory)
        if memory.location is None:
            assert memory.error is not None
            raise memory.error
        return memory.location

    async def _learn(self, pairing: Pairing, memory: _Memory) -> None:
        try:
            memory.location = _understand(pairing, await self._ask(pairing))
            memory.error = None
            memory.backoff_s = 0.0
            memory.until = self._clock() + FRESH_S
        except GatepostError as error:
            memory.location = None
            memory.error = GatepostError(f"{pairing.serial}: {error.text}", EX_TEMPFAIL)
            memory.backoff_s = min(LONGEST_BACKOFF_S, memory.backoff_s * 2 or FIRST_BACKOFF_S)
            memory.until = self._clock() + memory.backoff_s
            self._log.warning(
                f"Application error: command client cannot ask appliance {pairing.serial}"
                f" ({pairing.console_host}:{pairing.console_port}) for its cpq_listener: {clean(error.text)};"
                f" next try in {memory.backoff_s:.0f} s"
            )


def _understand(pairing: Pairing, answer: Answer) -> Location:
    if answer.status != 0:
        lines = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GatepostError(f"its console answered: {lines[-1] if lines else f'status {answer.status}'}", EX_TEMPFAIL)
    try:
        found = msgspec.json.decode(answer.stdout, type=_Listener)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatepostError(f"its console's answer cannot be read: {error}", EX_TEMPFAIL) from None
    if found.state != "listening":
        raise GatepostError(f"its cpq_listener is {found.state}", EX_UNAVAILABLE)
    if not 0 < found.port < 65536:
        raise GatepostError(f"its cpq_listener has the impossible port {found.port}", EX_TEMPFAIL)
    return Location(pairing.serial, pairing.console_host if found.address in _ANYWHERE else found.address, found.port)


def command_client(key_path: Path, username: str, command: str, timeout_s: float = 15.0) -> Ask:
    """Give the real `Ask`: SSH with the command client's key to the console whose host key was pinned at pairing."""

    async def ask(pairing: Pairing) -> Answer:
        from core.ssh import run_command  # asyncssh takes a second to load: only where it is used

        return await run_command(
            pairing.console_host, pairing.console_port, username, key_path, pairing.host_key, command, timeout_s
        )

    return ask
