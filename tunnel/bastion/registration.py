"""The bastion's end of the control channel: an appliance registers, confirms, and withdraws.

The appliance's end is `tunnel/appliance/registration.py`. One `ControlSession` per appliance connection, made by
`appliance_side.py`; messages in `tunnel/control_message.py`, generations and clones in the store. Messages are handled
one after the other; a peer that sends what is no message, or too many, is disconnected.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh
import msgspec

from core.diagnostic import incident
from core.errors import GatepostError
from core.runtime import spawn
from core.ssh import Bucket
from tunnel.audit import AuditLog
from tunnel.bastion.store import Publication, Registered, Store
from tunnel.control_message import (
    SUBSYSTEM,
    Bye,
    Confirm,
    Frames,
    FromAppliance,
    FromBastion,
    Granted,
    MessageError,
    Refused,
    Register,
    decode_from_appliance,
    encode,
)

WAITING = 8
"""Messages that may wait to be handled."""
REGISTRATIONS, AGAIN_S = 10, 30.0
"""So many at once on one connection, one more after each `AGAIN_S`: each writes to the store and to the audit log."""
SETTLE_S = 15.0
"""How long a name that is asked for waits for the registration before it."""
AWAY_S = (5, 30)
"""When the store is away, an appliance may come back after so many seconds, at random between these."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration that the appliance has confirmed."""

    told: Publication
    generation: int
    until_at: float


@dataclass(frozen=True, slots=True)
class ControlTerms:
    """What a control session needs of its connection."""

    name: str
    store: Store
    audit: AuditLog
    confirmed: Callable[[Registration], None]
    withdrawn: Callable[[], None]
    cloned: Callable[[], None]
    """Told that this serial is frozen from now on."""
    refused: Callable[[str, str], object]
    """Told rule and reason of what was refused."""


class ControlSession(asyncssh.SSHServerSession[bytes]):
    """What asyncssh sees of one control channel."""

    def __init__(self, terms: ControlTerms) -> None:
        self._terms = terms
        self._frames = Frames()
        self._waiting: deque[FromAppliance] = deque()
        self._settled = asyncio.Event()
        self._settled.set()
        self._told: Publication | None = None
        self._offered: Registered | None = None
        self._open = False
        self._registrations = Bucket(REGISTRATIONS, AGAIN_S)

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False

    def pty_requested(self, term_type: str, term_size: object, term_modes: object) -> bool:
        return False

    def subsystem_requested(self, subsystem: str) -> bool:
        self._open = subsystem == SUBSYSTEM
        if not self._open:
            self._terms.refused("session", f"the subsystem {subsystem[:64]!r}")
        return self._open

    def shell_requested(self) -> bool:
        self._terms.refused("session", "a shell")
        return False

    def exec_requested(self, command: str) -> bool:
        self._terms.refused("session", f"the command {command[:64]!r}")
        return False

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        try:
            messages = [decode_from_appliance(frame) for frame in self._frames.receive(data)]
        except MessageError as error:
            self._fault(str(error))
            return
        self._waiting.extend(messages)
        if self._frames.fault or len(self._waiting) > WAITING:
            self._fault(self._frames.fault or "too many messages")
        elif self._waiting and self._settled.is_set():
            self._settled.clear()
            spawn(self._handle(), f"control channel of {self._terms.name}")

    async def settled(self) -> None:
        """Wait until what was said so far is handled: a name is asked for right after the registration is confirmed."""
        async with asyncio.timeout(SETTLE_S):
            await self._settled.wait()

    def bye(self, retry_after_s: float) -> None:
        """Tell the appliance that this end is going to close, and when to come back."""
        self._send(Bye(retry_after_s=retry_after_s))

    def _fault(self, why: str) -> None:
        self._terms.refused("control", why)
        self._waiting.clear()
        self._chan.close()

    def _send(self, message: FromBastion) -> None:
        if self._open and not self._chan.is_closing():
            self._chan.write(encode(message))

    async def _handle(self) -> None:
        try:
            while self._waiting:
                await self._take(self._waiting.popleft())
        except GatepostError as error:
            self._send(Refused(why=_line(error.text), retry_after_s=random.uniform(*AWAY_S)))  # noqa: S311 - a wait
        except Exception as error:  # one appliance's registration never takes the others down
            number = incident("control channel", error)
            self._send(Refused(why=f"internal error, incident {number}", retry_after_s=random.uniform(*AWAY_S)))  # noqa: S311 - a wait
        finally:
            self._settled.set()

    async def _take(self, message: FromAppliance) -> None:
        if isinstance(message, Register):
            await self._register(message)
        elif isinstance(message, Confirm):
            await self._confirm(message)
        else:
            await self._withdraw()

    async def _register(self, message: Register) -> None:
        terms = self._terms
        if not self._registrations.take():
            self._fault("too many registrations")
            return
        fields = {name: getattr(message, name) for name in Publication.__struct_fields__}
        self._told = msgspec.convert(fields, Publication)
        self._offered = answer = await terms.store.appliances.register(
            terms.name, message.generation, message.nonce, self._told
        )
        if answer.clone:
            terms.audit.note("clone", serial=terms.name, generation=message.generation, why=answer.why)
            terms.cloned()
        if answer.why:
            self._offered = None
            terms.refused("frozen" if answer.frozen else "registration", answer.why)
            self._send(Refused(why=_line(answer.why), frozen=answer.frozen))
            return
        self._send(Granted(generation=answer.generation, nonce=answer.nonce, until_at=answer.until_at))

    async def _confirm(self, message: Confirm) -> None:
        offered, told, terms = self._offered, self._told, self._terms
        if offered is None or told is None or message.generation != offered.generation:
            self._fault("a generation was confirmed that was not offered")
            return
        if not await terms.store.appliances.confirm(terms.name, message.generation):
            self._send(Refused(why="another machine with this serial has registered in the meantime", retry_after_s=30))
            return
        terms.audit.note(
            "registered",
            serial=terms.name,
            activation=told.activation_id,
            mode=told.mode,
            fingerprint=told.fingerprint,
            generation=message.generation,
            until_at=offered.until_at,
            hops=told.hops,
        )
        terms.confirmed(Registration(told, message.generation, offered.until_at))

    async def _withdraw(self) -> None:
        told, self._told, self._offered = self._told, None, None
        if told is not None:
            await self._terms.store.appliances.withdraw(self._terms.name, told.activation_id)
            self._terms.audit.note("withdrawn", serial=self._terms.name, activation=told.activation_id)
        self._terms.withdrawn()


def _line(text: str) -> str:
    """Give what may stand in a message: printable ASCII, at most 400 characters."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:400]
