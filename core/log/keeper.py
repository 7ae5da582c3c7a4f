"""The keeper of a machine's logs: roll-overs by the clock, saved files to other hosts, lines to syslog hosts.

A service of the console, so that none of it is on the mail's path. Saved files are sent when there is a new one; what
failed is tried again with the next. Says what goes wrong in the system log, once until it changes.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from core import clock
from core.diagnostic import incident
from core.errors import GatepostError
from core.lifecycle import Scope
from core.log.book import Logs
from core.log.file import saved_files
from core.log.memory import Memory
from core.log.subscription import Push, Subscription
from core.log.syslog import SyslogSender
from core.maillog import clean
from core.ssh.copy import send_file
from core.ssh.key import ensure_key

_LOOK_S = 1.0
_SAVE_S = 5.0
_DAY_S = 86400


def due(one: Subscription, before: float, now: float) -> bool:
    """Tell whether a roll-over by time lies after `before` and not after `now`, in local time."""
    if now <= before or not before:
        return False
    if one.every_s and int((now + _offset(now)) // one.every_s) > int((before + _offset(before)) // one.every_s):
        return True
    return any(_latest(minutes, now) > before for minutes in one.at)


def _offset(at: float) -> int:
    return time.localtime(at).tm_gmtoff


def _latest(minutes: int, now: float) -> float:
    """Give the last moment, not after `now`, that has this time of day."""
    day = time.localtime(now)
    today = time.mktime((day.tm_year, day.tm_mon, day.tm_mday, minutes // 60, minutes % 60, 0, 0, 0, -1))
    if today <= now:
        return today
    return time.mktime((day.tm_year, day.tm_mon, day.tm_mday - 1, minutes // 60, minutes % 60, 0, 0, 0, -1))


class LogKeeper:
    """See the module."""

    name = "log keeper"

    def __init__(
        self,
        logs: Logs,
        hostname: str,
        *,
        memory: Path,
        note: Callable[[str], None],
        now: clock.Clock = clock.now,
    ) -> None:
        self._logs = logs
        self._hostname = hostname
        self._memory = Memory(memory)
        self._note = note
        self._now = now
        self.alert: Callable[[str, str], None] = lambda _about, _text: None
        """Tells people what goes wrong: of which log, and what."""
        self._seen: dict[str, tuple[Push, tuple[str, ...]]] = {}
        self._failing: dict[str, str] = {}
        self._senders: dict[str, tuple[Subscription, asyncio.Task[None]]] = {}
        self._pushing: dict[str, asyncio.Task[None]] = {}

    async def run(self, scope: Scope) -> None:
        """Look after the logs until stopping."""
        scope.ready()
        saved_at = 0.0
        while True:
            try:
                await self._roll()
                self._follow(scope)
                await self._push(scope)
                if clock.monotonic() - saved_at >= _SAVE_S:
                    saved_at = clock.monotonic()
                    await asyncio.to_thread(self._memory.save, self._memory.text())
            except Exception as error:  # the logs of one subscription must not end the console
                self._say("keeper", f"the logs cannot be looked after: incident {incident('log keeper', error)}")
            if not await scope.pause(_LOOK_S):
                break
        try:
            await asyncio.to_thread(self._memory.save, self._memory.text())
        except OSError as error:  # what it does not remember is sent or rolled once more
            self._say("keeper", f"what was done with the logs cannot be kept: {error.strerror or error}")

    async def _roll(self) -> None:
        before, now = self._memory.checked_at, self._now()
        self._memory.checked_at = now
        for one in self._logs.all():
            if due(one, before, now):
                await asyncio.to_thread(self._logs.file_of(one).save)

    def _follow(self, scope: Scope) -> None:
        """Have a sender for each subscription that goes to a syslog host."""
        wanted = {one.name: one for one in self._logs.all() if one.push and one.push.method == "syslog"}
        for name, (one, task) in list(self._senders.items()):
            if wanted.get(name) != one:
                task.cancel()
                del self._senders[name]
        for name, one in wanted.items():
            if name not in self._senders:
                place = self._memory.places.get(name)
                sender = SyslogSender(one, self._hostname, place, moved=self._mover(name), note=self._note)
                self._senders[name] = (one, scope.start(sender.run(scope), name=f"syslog of {name}"))

    def _mover(self, name: str) -> Callable[[tuple[int, int]], None]:
        def moved(place: tuple[int, int]) -> None:
            self._memory.places[name] = place  # type: ignore[assignment]

        return moved

    async def _push(self, scope: Scope) -> None:
        """Send saved files where there is one that was not there at the last look; nobody waits for another's host."""
        for one in self._logs.all():
            if one.push is None or one.push.method != "scp" or one.name in self._pushing:
                continue
            names = tuple(path.name for path in await asyncio.to_thread(saved_files, one.path))
            if self._seen.get(one.name) != (one.push, names):
                self._seen[one.name] = (one.push, names)
                sending = scope.start(self._sending(one, one.push, names), name=f"files of {one.name}")
                self._pushing[one.name] = sending

    async def _sending(self, one: Subscription, push: Push, names: tuple[str, ...]) -> None:
        try:
            await self._send(one, push, names)
        except Exception as error:
            self._say(one.name, f"{one.name}: internal error, incident {incident('log push', error)}")
        finally:
            del self._pushing[one.name]

    async def _send(self, one: Subscription, push: Push, names: tuple[str, ...]) -> None:
        sent = self._memory.sent.setdefault(one.name, set())
        sent.intersection_update(names)
        where = f"{push.user}@{push.host}:{push.port}"
        if not push.host_key:
            self._say(one.name, f"{one.name}: nothing is sent to {where} before its host key is set")
            return
        for name in names:
            if name in sent:
                continue
            try:
                await asyncio.to_thread(ensure_key, self._logs.key, f"logs@{self._hostname}")
                await self._copy(push, one.path.with_name(name))
            except (GatepostError, OSError) as error:
                why = error.text if isinstance(error, GatepostError) else str(error.strerror or error)
                self._say(one.name, f"{one.name}: {name} could not be sent to {where}: {clean(why)}")
                return  # the others wait with it for the next roll-over
            sent.add(name)
            self._failing.pop(one.name, None)
            self._note(f"{one.name}: {name} was sent to {where}")

    async def _copy(self, push: Push, file: Path) -> None:
        await send_file(push.host, push.port, push.user, self._logs.key, push.host_key, file, push.directory)

    def _say(self, about: str, text: str) -> None:
        if self._failing.get(about) != text:
            self._failing[about] = text
            self._note(text)
            self.alert(about, text)
