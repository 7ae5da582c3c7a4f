"""Alerts to people by mail, on a path of their own that needs neither queue nor journal.

Anybody in a daemon calls `Alerts.send`, which never blocks and never raises; the service `run` delivers, straight to
the configured host or to the mail exchangers of the recipient's domain. The same kind of alert is repeated at growing
intervals, all kinds together are limited by the hour, and what was left out is counted in the next one. An alert that
cannot be delivered in a few tries is a line in the mail log. The only module that touches aiosmtplib beside the lab.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

import aiosmtplib

from core import clock
from core.config import AlertsSection
from core.dns import DnsError, Resolver
from core.lifecycle import Scope
from core.maillog import MailLog, clean

CRITICAL: Final = "Critical"
WARNING: Final = "Warning"
INFO: Final = "Info"
_ORDER: Final = (INFO, WARNING, CRITICAL)
WAITING_LIMIT: Final = 100
RETRIES_S: Final = (10.0, 60.0, 300.0)
"""Waits before the second, third and last attempt."""
_HOSTS: Final = 5
_HOUR_S: Final = 3600.0
_KINDS: Final = 1_000


@dataclass(slots=True)
class _Kind:
    """What is remembered of one id."""

    free_at: float
    interval_s: float
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class _Alert:
    severity: str
    subject: str
    text: str


@dataclass(slots=True)
class _Lane:
    """What one recipient is still to get; nobody waits for the host of another."""

    recipient: str
    waiting: deque[_Alert] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Alerts:
    """The service of one daemon."""

    name = "alerts"

    def __init__(
        self,
        section: AlertsSection,
        *,
        hostname: str,
        resolver: Resolver,
        log: MailLog,
        monotonic: clock.Clock = clock.monotonic,
        retries_s: tuple[float, ...] = RETRIES_S,
    ) -> None:
        self._section = section
        self._hostname = hostname
        self._resolver = resolver
        self._log = log
        self._monotonic = monotonic
        self._retries_s = retries_s
        self._kinds: dict[str, _Kind] = {}
        self._sent_at: deque[float] = deque()
        self._lanes = [_Lane(one) for one in section.recipients]
        self.suppressed = 0
        """Alerts that were not sent, of all kinds."""

    def send(self, severity: str, kind: str, text: str) -> None:
        """Have an alert sent. `kind` is its id (`MAIL.RES_CON_START_ALERT.MEMORY`), by which repetition is limited."""
        section = self._section
        if not section.recipients or _ORDER.index(severity) < _ORDER.index(section.severity.capitalize()):
            return
        now = self._monotonic()
        remembered = self._kinds.get(kind)
        if remembered is not None and now >= remembered.free_at + remembered.interval_s:
            remembered.interval_s = section.repeat_s  # quiet for long enough: as if it were the first
        left_out = remembered.suppressed if remembered is not None else 0
        if (remembered is not None and now < remembered.free_at) or not self._room(now):
            self._leave_out(kind, now)
            return
        interval_s = min(remembered.interval_s * 2, section.repeat_longest_s) if remembered else section.repeat_s
        self._remember(kind, _Kind(now + interval_s, interval_s))
        self._sent_at.append(now)
        more = f"\n\n({left_out} alerts of this kind were left out since the last one.)" if left_out else ""
        subject = f"{severity} {kind}: {self._hostname}"
        alert = _Alert(severity, subject, f"{text}{more}\n\nHost: {self._hostname}\nAlert: {kind}\n")
        for lane in self._lanes:
            self._line_up(alert, lane)

    def _line_up(self, alert: _Alert, lane: _Lane) -> None:
        if len(lane.waiting) >= WAITING_LIMIT:
            self._give_up(alert, lane.recipient, f"{WAITING_LIMIT} others wait for its host")
            return
        lane.waiting.append(alert)
        lane.news.set()

    def _room(self, now: float) -> bool:
        while self._sent_at and now - self._sent_at[0] >= _HOUR_S:
            self._sent_at.popleft()
        return len(self._sent_at) < self._section.per_hour

    def _leave_out(self, kind: str, now: float) -> None:
        self.suppressed += 1
        if kind not in self._kinds:
            self._remember(kind, _Kind(now, self._section.repeat_s))
        self._kinds[kind].suppressed += 1

    def _remember(self, kind: str, what: _Kind) -> None:
        while kind not in self._kinds and len(self._kinds) >= _KINDS:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = what

    async def run(self, scope: Scope) -> None:
        """Deliver until stopping; what still waits then gets one attempt each."""
        scope.ready()
        lanes = [scope.start(self._serve(lane, scope), name=f"alerts to {lane.recipient}") for lane in self._lanes]
        await scope.stopping.wait()
        for lane in self._lanes:
            lane.news.set()
        await asyncio.gather(*lanes)

    async def _serve(self, lane: _Lane, scope: Scope) -> None:
        while not scope.stopping.is_set():
            await lane.news.wait()
            lane.news.clear()
            while lane.waiting:
                await self._deliver(lane.waiting.popleft(), lane.recipient, scope)

    async def _deliver(self, alert: _Alert, recipient: str, scope: Scope) -> None:
        reason = await self._try_often(alert, recipient, scope)
        if reason:
            self._give_up(alert, recipient, reason)
        else:
            self._log.info(f"A System/{alert.severity} alert was sent to {_shown(alert, recipient)}.")

    def _give_up(self, alert: _Alert, recipient: str, reason: str) -> None:
        self._log.warning(f"Internal SMTP giving up on message to {_shown(alert, recipient)}: {clean(reason)}")

    async def _try_often(self, alert: _Alert, recipient: str, scope: Scope) -> str:
        """Give '' when it is delivered, else why not."""
        reason = await self._try(alert, recipient)
        for wait_s in self._retries_s:
            if not reason or reason.startswith("5") or not await scope.pause(wait_s):
                break
            reason = await self._try(alert, recipient)
        return reason

    async def _try(self, alert: _Alert, recipient: str) -> str:
        reason = "no mail host"
        for host, port in await self._hosts(recipient):
            try:
                async with asyncio.timeout(self._section.timeout_s):
                    await aiosmtplib.send(
                        self._message(alert, recipient),
                        sender=self._sender,
                        recipients=[recipient],
                        hostname=host,
                        port=port,
                        local_hostname=self._hostname,
                        validate_certs=False,  # opportunistic: an alert matters more than who might read it
                        timeout=self._section.timeout_s,
                    )
            except aiosmtplib.SMTPRecipientsRefused as error:
                reason = f"{error.recipients[0].code} {error.recipients[0].message}"
            except aiosmtplib.SMTPResponseException as error:
                reason = f"{error.code} {error.message}"
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                return ""
            text = f"Failed to send message to host {host}:{port} for recipient {recipient}: {clean(reason)}"
            self._log.info(f"Internal SMTP Error: {text}")
        return reason

    async def _hosts(self, recipient: str) -> list[tuple[str, int]]:
        section = self._section
        if section.host:
            return [(section.host, section.port)]
        domain = recipient.rpartition("@")[2]
        try:
            found = await self._resolver.mx(domain)
        except DnsError as error:
            self._log.info(f"Internal SMTP Error: {clean(str(error))}")
            return []
        names = [one.host for one in found.records if one.host != "."] if found.records else [domain]
        return [(address, section.port) for name in names[:_HOSTS] for address in await self._addresses(name)][:_HOSTS]

    async def _addresses(self, name: str) -> tuple[str, ...]:
        try:
            return (await self._resolver.addresses(name)).records
        except DnsError:
            return ()

    @property
    def _sender(self) -> str:
        return self._section.sender or f"alert@{self._hostname}"

    def _message(self, alert: _Alert, recipient: str) -> EmailMessage:
        message = EmailMessage()
        message["From"] = f"Gatepost alerts <{self._sender}>"
        message["To"] = recipient
        message["Subject"] = alert.subject
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = make_msgid(domain=self._hostname)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(clean(alert.text, None, lines=True))
        return message


def _shown(alert: _Alert, recipient: str) -> str:
    return f'{recipient} with subject "{clean(alert.subject)}"'
