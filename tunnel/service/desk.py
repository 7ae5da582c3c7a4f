"""The desk: the support sessions of one appliance, from the wish for one to its end.

One per console. Channels (`channel.py`) ask it for sessions, connections for hops. A session is admitted (the
customer's yes, where asked for), recorded, entered in the list, announced, and when it is over written off. Those
whose channel dropped are kept for a while. The control verbs (`verb.py`) look at its list.
"""

import asyncio
import secrets
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh

from core.errors import EX_NOPERM, EX_TEMPFAIL, EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.maillog import clean
from core.ssh import splice_to_address
from tunnel.appliance.activation import Activation
from tunnel.recording.recorder import Recorder
from tunnel.recording.subject import Policy, Subject
from tunnel.service import shell
from tunnel.service.access import Access
from tunnel.service.channel import ATTACH, ServiceChannel
from tunnel.service.consent import HOLD_S, WaitingRoom
from tunnel.service.files import FilesSession
from tunnel.service.hop import HopRule, refusal
from tunnel.service.live import CONSOLE, FILES, HOP, SHELL, Live, Plan
from tunnel.service.notice import Notices, ServiceSession
from tunnel.service.visitor import ServiceLogin

CHECK_S = 1.0
STOP_S = 4.0
"""How long a stopping console waits for login shells to be gone."""
MOST = 64
"""Support sessions at a time."""
REATTACH_S = 15 * 60.0
FILES_IDLE_S, FILES_LONGEST_S = 600.0, 4 * 3600.0

Inside = asyncssh.SSHServerSession[bytes]
Asked = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeskTerms:
    """What the desk needs to know of its machine."""

    name: str
    """The appliance's serial in lower case."""
    machine: Path
    """The machine's folder."""
    service_user: str = ""
    hops: HopRule = field(default_factory=HopRule)
    policy: Policy = Policy.BEST_EFFORT
    reattach_s: float = REATTACH_S
    hold_s: float = HOLD_S


class Desk:
    """The support sessions."""

    name = "service-desk"

    def __init__(
        self,
        terms: DeskTerms,
        access: Access,
        console: ServiceSession,
        recorder: Recorder,
        notices: Notices,
    ) -> None:
        self.access = access
        self.waiting = WaitingRoom(notices.ask, terms.hold_s)
        self.live: dict[str, Live] = {}
        self._terms = terms
        self._console = console
        self._recorder = recorder
        self._notices = notices
        self._shells: weakref.WeakSet[shell.ShellSession] = weakref.WeakSet()
        access.ended = self.end_all

    async def run(self, scope: Scope) -> None:
        """Watch the access and the sessions that nobody comes back to, until stopping; then end all."""
        scope.ready()
        while await scope.pause(CHECK_S):
            await self.access.look()
            for live in tuple(self.live.values()):
                self._look(live)
        self.access.cut("the appliance's console is stopping")
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                for each in tuple(self._shells):
                    await each.over.wait()

    def end_all(self, why: str) -> None:
        """End every session, and refuse whoever waits for one."""
        self.waiting.close(why)
        for live in tuple(self.live.values()):
            live.kill(why)

    # --- for connections -------------------------------------------------------------------------------------

    def session(self, login: ServiceLogin) -> ServiceChannel:
        """Give the session of a new channel."""
        return ServiceChannel(self, login)

    async def hop(self, login: ServiceLogin, host: str, port: int) -> asyncssh.SSHTCPSession[bytes]:
        """Connect to another appliance. Raises ChannelOpenError if that may not be, or nobody answers."""
        opened = self.access.opening()
        why = refusal(opened.hops if opened else (), self._terms.hops, host, port)
        hops = sum(each.plan.kind == HOP and each.login.key_id == login.key_id for each in self.live.values())
        if not why and hops >= self._terms.hops.at_once:
            why = "too many connections to other appliances at once"
        plan = Plan(HOP, f"{host}:{port}")
        if why:
            text = f"support may not go on to {plan.what[:100]}: {why}: {login}"
            self._notices.note("service-hop-refused", text, to=plan.what[:100], **login.facts())
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
        try:
            await self.admit(login, plan)
            live = self._enter(login, plan, {})
        except GatepostError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, error.text) from None
        try:
            half = await splice_to_address(host, port, lambda: live.exit(0))
        except BaseException:
            live.kill("no connection")
            raise
        live.carry(half.close)
        return half

    # --- for channels ----------------------------------------------------------------------------------------

    async def admit(self, login: ServiceLogin, plan: Plan) -> None:
        """Return when the session may begin. Raises GatepostError with what to tell the engineer."""
        opened = self.access.opening()
        if opened is None:
            raise GatepostError("service access is not open", EX_NOPERM)
        if plan.kind == SHELL:
            self._shell_account(opened, plan)
        if opened.ask and not (plan.kind == ATTACH and self._only_own(login, plan.what)):
            facts = {**login.facts(), "kind": plan.kind, "asked": clean(plan.what[:300])}
            await self.waiting.admit(login.key_id, clean(f"{login} wants {_described(plan)}"), facts)
            after = self.access.opening()
            if after is None or after.activation_id != opened.activation_id:
                raise GatepostError("service access has ended meanwhile", EX_NOPERM)

    def begin(
        self, login: ServiceLogin, plan: Plan, chan: asyncssh.SSHServerChannel[bytes], asked: Asked
    ) -> asyncssh.SSHServerSession[bytes]:
        """Start the session behind the channel. Raises GatepostError."""
        live = self._enter(login, plan, asked)
        try:
            if plan.kind == FILES:
                live.start_plain(self._files(live), chan)
            else:
                live.start(self._inside(live, login, plan, asked), chan)
        except Exception:
            live.kill("it could not be started")
            raise
        return live

    def take_up(
        self, login: ServiceLogin, number: str, chan: asyncssh.SSHServerChannel[bytes], size: tuple[int, int]
    ) -> asyncssh.SSHServerSession[bytes]:
        """Put a session of before behind the channel. Raises GatepostError."""
        found = [each for each in self._of(login) if not number or each.number == number.lower()]
        if not found:
            raise GatepostError("no such session of yours or of your case lives here", EX_USAGE)
        if len(found) > 1:
            numbers = ", ".join(each.number for each in found)
            raise GatepostError(f"there are several sessions; name one after attach: {numbers}", EX_USAGE)
        live = found[0]
        text = f"support session {live.number} is taken up again: {login}"
        self._notices.note("service-attached", text, id=live.number, **login.facts())
        live.attach(chan, login, size)
        return live

    def dropped(self, front: asyncssh.SSHServerSession[bytes], chan: object) -> None:
        """A channel is gone."""
        if isinstance(front, Live) and front.detach(chan):
            minutes = round(self._terms.reattach_s / 60)
            text = f"support session {front.number} lost its connection; it is kept for {minutes} minutes"
            self._notices.note("service-detached", text, id=front.number)

    def ended(self, front: asyncssh.SSHServerSession[bytes] | None) -> None:
        """The bastion has ended a session on purpose."""
        if isinstance(front, Live):
            front.kill("the support organisation ended it")

    # --- within ----------------------------------------------------------------------------------------------

    def _of(self, login: ServiceLogin) -> list[Live]:
        """Give the sessions that this engineer may take up."""
        return [each for each in self.live.values() if each.plan.survives and each.login.same_person(login)]

    def _only_own(self, login: ServiceLogin, number: str) -> bool:
        """Whether somebody comes back to what is theirs already, not to a colleague's session."""
        found = [each for each in self._of(login) if not number or each.number == number.lower()]
        return all(each.login.key_id == login.key_id for each in found)

    def _enter(self, login: ServiceLogin, plan: Plan, asked: Asked) -> Live:
        """Open the recording of a session and enter it in the list. Raises GatepostError."""
        if len(self.live) >= MOST:
            raise GatepostError(f"{MOST} support sessions are open; end some", EX_TEMPFAIL)
        number = secrets.token_hex(4)
        recording = self._recorder.open(
            self._subject(number, login, plan, asked),
            self._terms.policy,
            failed=lambda why: self._with(number, lambda live: live.kill(f"it cannot be recorded any more: {why}")),
            hold=lambda held: self._with(number, lambda live: (live.pause_writing if held else live.resume_writing)()),
        )
        live = self.live[number] = Live(number, login, plan, recording, self._ended)
        text = f"support session {number} begins: {_described(plan)}: {login}"
        self._notices.note("service-session", text, id=number, kind=plan.kind, what=plan.what[:400], **login.facts())
        if plan.announced:
            self._notices.tell(f"Support is logged in: {login}, session {number}")
        return live

    def _subject(self, number: str, login: ServiceLogin, plan: Plan, asked: Asked) -> Subject:
        return Subject(
            session=number,
            serial=self._terms.name,
            case=login.case,
            engineer=login.engineer,
            key_id=login.key_id,
            activation_id=self.access.in_force,
            source=login.source,
            mode="service",
            command=plan.what or None if plan.kind not in (FILES, HOP) else None,
            subsystem=plan.what if plan.kind == FILES else "",
            forward=plan.what if plan.kind == HOP else "",
            term_type=plan.term,
            term_size=plan.size,
            environment=asked,
            facts={"kind": plan.kind, "way": login.way},
        )

    def _inside(self, live: Live, login: ServiceLogin, plan: Plan, asked: Asked) -> Inside:
        """Make what runs in a session: the login shell, or the console, which may lend its terminal to one."""
        if plan.kind == SHELL:
            return self._shell(self._shell_account(self.access.opening(), plan), asked)

        async def lend() -> int:
            who = self._shell_account(self.access.opening(), plan)
            self._notices.note("service-shell", f"support session {live.number} opens a shell", id=live.number)
            live.recording.marker("login-shell", user=who.name)
            return await live.lend(self._shell(who, asked))

        kept = [each.number for each in self._of(login) if each.detached_at] if plan.survives else []
        if kept:
            text = f"Kept for you: session {', '.join(kept)}. The command `attach ID` takes it up again.\r\n"
            live.greeting = text.encode()
        return self._console(replace(login, shell=lend))

    def _shell(self, who: shell.ShellAccount, asked: Asked) -> shell.ShellSession:
        made = shell.ShellSession(who, asked)
        self._shells.add(made)
        return made

    def _shell_account(self, opened: Activation | None, plan: Plan) -> shell.ShellAccount:
        if opened is None:
            raise GatepostError("service access is not open", EX_NOPERM)
        if not opened.shell:
            raise GatepostError("the administrator did not allow a login shell; there is the console", EX_NOPERM)
        if plan.term is None:
            raise GatepostError("the login shell needs a terminal: ssh -t", EX_USAGE)
        return shell.account(self._terms.service_user)

    def _files(self, live: Live) -> Inside:
        def noted(way: str, path: str, octets: int, sha256: str, whole: bool) -> None:
            live.recording.marker("file", direction=way, path=path, octets=octets, sha256=sha256, complete=whole)
            text = f"support session {live.number} {way} {path}: {octets} octets, SHA-256 {sha256 or 'not known'}"
            self._notices.note("service-file", text, id=live.number, path=path, octets=octets, sha256=sha256)

        return FilesSession(self._terms.machine, noted)

    def _ended(self, live: Live) -> None:
        self.live.pop(live.number, None)
        text = f"support session {live.number} is over: {live.how}: {live.login}"
        self._notices.note("service-session-end", text, id=live.number, how=live.how)
        if live.plan.announced:
            self._notices.tell(f"Support has left: {live.login}, session {live.number}")

    def _with(self, number: str, do: Callable[[Live], None]) -> None:
        if (live := self.live.get(number)) is not None:
            do(live)

    def _look(self, live: Live) -> None:
        if live.away_s > self._terms.reattach_s:
            live.kill("nobody came back to it")
        elif live.plan.kind == FILES and live.stale(FILES_IDLE_S, FILES_LONGEST_S):
            live.kill("nothing was transferred for too long")


def _described(plan: Plan) -> str:
    names = {CONSOLE: "the console", SHELL: "a login shell", FILES: "file transfer", HOP: "the way on to"}
    return f"{names.get(plan.kind, 'the command')} {plan.what}".strip()[:300]
