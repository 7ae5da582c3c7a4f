"""A recorded session of an engineer on an appliance: what its request needs, its recording, its place in the list.

Made by `engineer_side.py` for each session channel; the octets go through `relay.py`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from core import clock
from core.errors import GatepostError
from core.metrics import Counters
from tunnel.audit import AuditLog
from tunnel.bastion.approval import waiting
from tunnel.bastion.entitlement import SFTP, SHELL, Denied, Entitled, Entitlements
from tunnel.bastion.reach import Reached, Way
from tunnel.bastion.refusal import Strangers
from tunnel.bastion.relay import Down, Request, Terms
from tunnel.bastion.visit import Visit, Visits
from tunnel.config import BastionSection
from tunnel.recording.recorder import Recorder
from tunnel.recording.subject import Subject, policy_for

_ATTACH = "attach "
_HELD_S = 1.0
"""What lasts longer is a wait for an approval."""


@dataclass(frozen=True, slots=True)
class Front:
    """What all engineers' connections share."""

    section: BastionSection
    way: Way
    entitlements: Entitlements
    recorder: Recorder
    audit: AuditLog
    counters: Counters
    visits: Visits
    strangers: Strangers = field(default_factory=Strangers)


@dataclass(frozen=True, slots=True)
class Own:
    """What a session needs of its own connection."""

    roles: Callable[[Entitled], frozenset[str]]
    """Those that the certificate and the store both give."""
    entitled: Callable[[], Entitled | None]
    """As it was at the login; None if nothing was allowed."""
    denied: Callable[[], str]
    """Why nothing was allowed."""
    refuse: Callable[[str, str], object]
    """Takes note of a refusal: rule and reason."""
    ended: Callable[[Visit], None]
    connection_id: str


class Session:
    """One recorded session, from its channel to its end."""

    def __init__(self, front: Front, own: Own, visit: Visit) -> None:
        self._front = front
        self._own = own
        self._visit = visit

    def down(self) -> Down:
        """Make the engineer's side of it."""
        return Down(Terms(forbidden=self._forbidden, begin=self._begin, reach=self._reach, ended=self._ended))

    def _forbidden(self, request: Request) -> str:
        entitled = self._own.entitled()
        if entitled is None:
            return self._own.denied()
        why = self._unfit(request, entitled)
        if why:
            self._own.refuse("role", why)
        return why

    def _unfit(self, request: Request, entitled: Entitled) -> str:
        roles = self._own.roles(entitled)
        if request.subsystem and not request.transfers:
            return f"the subsystem {request.subsystem[:64]!r} does not exist here"
        if request.transfers:
            return "" if SFTP in roles else f"you may not transfer files: the role {SFTP} is needed"
        return "" if SHELL in roles else f"you may not have a shell or run a command: the role {SHELL} is needed"

    def _begin(self, request: Request, down: Down) -> None:
        visit = self._visit
        visit.command, visit.subsystem = request.command or "", request.subsystem
        visit.role = SFTP if request.transfers else SHELL
        visit.cut = down.cut
        self._front.audit.write(
            "session",
            id=visit.visit_id,
            key_id=visit.engineer.key_id,
            serial=visit.serial,
            via=visit.via,
            mode=visit.mode,
            command=request.command,
            subsystem=request.subsystem,
            pty=request.term_type is not None,
        )
        self._front.visits.add(visit)
        self._front.counters.add("sessions_recorded")

    async def _reach(self, request: Request, down: Down) -> Reached:
        """Check again what may have changed since the login, record, and enter the appliance."""
        visit = self._visit
        try:
            entitled = await self._entitled(down)
        except Denied as denied:
            self._own.refuse(denied.rule, denied.text)
            raise
        if why := self._unfit(request, entitled):
            self._own.refuse("role", why)
            raise Denied("role", why)
        visit.via = entitled.via
        self._record(request, entitled, down)
        try:
            return await self._front.way.reach(visit.engineer, entitled)
        except GatepostError as error:
            self._front.counters.add("sessions_not_reached")
            self._front.audit.note("not-reached", id=visit.visit_id, serial=visit.serial, why=error.text)
            raise

    async def _entitled(self, down: Down) -> Entitled:
        """Ask what may be done; whoever is held for an approval is told so."""
        visit = self._visit
        text = waiting(self._front.section, visit.engineer.case)
        loop = asyncio.get_running_loop()
        notice = loop.call_later(_HELD_S, down.tell, text)
        try:
            async with asyncio.timeout(None) as patience:
                down.left = lambda: patience.reschedule(loop.time())
                return await self._front.entitlements.of(visit.engineer, visit.serial, visit.source, hold=True)
        except TimeoutError:
            raise Denied("approval", "the engineer left") from None
        finally:
            notice.cancel()
            down.left = None

    def _record(self, request: Request, entitled: Entitled, down: Down) -> None:
        visit = self._visit
        subject = Subject(
            session=visit.visit_id,
            serial=visit.serial,
            case=visit.engineer.case,
            engineer=visit.engineer.name,
            key_id=visit.engineer.key_id,
            activation_id=entitled.grant.fingerprint,
            connection_id=self._own.connection_id,
            source=visit.source,
            mode=visit.mode,
            command=request.command,
            subsystem=request.subsystem,
            term_type=request.term_type,
            term_size=request.term_size,
            term_modes=request.term_modes,
            environment=request.environment,
            facts={"via": visit.via} if visit.via else {},
        )
        recording = self._front.recorder.open(
            subject,
            policy_for(self._front.section, entitled.roles),
            failed=lambda _reason: down.cut("the recording failed: this session ends"),
            hold=down.hold,
        )
        visit.recording = down.recording = recording
        if (request.command or "").startswith(_ATTACH):
            recording.marker("attach", session=(request.command or "")[len(_ATTACH) :][:64])

    def _ended(self, status: int) -> None:
        if self._front.visits.remove(self._visit):
            lasted_s = round(clock.now() - self._visit.since_at, 3)
            self._front.audit.note("session-end", id=self._visit.visit_id, status=status, lasted_s=lasted_s)
        self._own.ended(self._visit)
