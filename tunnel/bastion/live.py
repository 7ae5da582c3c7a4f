"""The live side of the bastion for its operator: list, watch and end sessions; and what ends them by itself.

`Oversight` is a service: every few seconds it asks again whether what is open is still allowed (case, engineer, grant,
hours), and lets tunnels run out on the bastion's own clock. `Watching` hands a session's screen to watchers of the
console over the control socket: each question waits a little for something to see. A watcher sees, and cannot type.
"""

import asyncio
import base64
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core import clock
from core.diagnostic import incident
from core.errors import EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.metrics import Counters
from tunnel.audit import AuditLog
from tunnel.bastion.entitlement import Denied, Entitlements
from tunnel.bastion.presence import Presence
from tunnel.bastion.store import DatabaseAway
from tunnel.bastion.visit import Visit, Visits
from tunnel.recording.screen import Frame, Watch

CHECK_S = 5.0
WAIT_S = 5.0
"""A watcher's question is answered after so long although there is nothing to see."""
FORGOTTEN_S = 30.0
"""A watcher that has not asked for so long is gone."""
MOST = 64


@dataclass(slots=True)
class _Watcher:
    watch: Watch
    visit: Visit
    asked_at: float


class Watching:
    """Watchers of sessions."""

    def __init__(self, visits: Visits, audit: AuditLog) -> None:
        self._visits = visits
        self._audit = audit
        self._watchers: dict[str, _Watcher] = {}

    async def watch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `watch`: {id, by?} begins with the screen as it is, {id, watch} goes on."""
        self._sweep()
        token = str(args.get("watch") or "")
        if not token:
            token = self._begin(str(args["id"]), str(args.get("by", "")))
        watcher = self._watchers.get(token)
        if watcher is None:
            raise GatepostError("this watch is over; begin again with `watch ID`", EX_UNAVAILABLE)
        watcher.asked_at = clock.monotonic()
        frames = await _frames(watcher.watch)
        ended = "" if watcher.watch.ready else watcher.watch.ended
        if ended:
            self._end(token)
        return {
            "watch": token,
            "id": watcher.visit.visit_id,
            "frames": [[kind, base64.b64encode(data).decode("ascii")] for kind, data in frames],
            "ended": ended,
        }

    def _begin(self, visit_id: str, by: str) -> str:
        visit = self._visits.known(visit_id)
        if visit.recording is None:
            raise GatepostError("there is nothing to see: the bastion only carries this connection", EX_UNAVAILABLE)
        watch = visit.recording.screen.watch() if len(self._watchers) < MOST else None
        if watch is None:
            raise GatepostError("too many are watching; try again later", EX_TEMPFAIL)
        token = secrets.token_hex(8)
        self._watchers[token] = _Watcher(watch, visit, clock.monotonic())
        visit.watchers += 1
        self._audit.write("watch", id=visit.visit_id, by=by)
        return token

    def _end(self, token: str) -> None:
        watcher = self._watchers.pop(token)
        watcher.watch.close()
        watcher.visit.watchers -= 1
        self._audit.note("watch-end", id=watcher.visit.visit_id)

    def _sweep(self) -> None:
        now = clock.monotonic()
        for token, watcher in tuple(self._watchers.items()):
            if now - watcher.asked_at > FORGOTTEN_S:
                self._end(token)


async def _frames(watch: Watch) -> list[Frame]:
    """Take what there is to see, or wait a little for something."""
    frames: list[Frame] = []
    with suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(WAIT_S):
            frames.append(await anext(watch))
    while watch.ready:
        frames.append(await anext(watch))
    return frames


class Oversight:
    """Ends what is not allowed any more."""

    name = "oversight"

    def __init__(
        self,
        visits: Visits,
        presence: Presence,
        entitlements: Entitlements,
        *,
        audit: AuditLog,
        counters: Counters,
        every_s: float = CHECK_S,
    ) -> None:
        self._visits = visits
        self._presence = presence
        self._entitlements = entitlements
        self._audit = audit
        self._counters = counters
        self._every_s = every_s

    async def run(self, scope: Scope) -> None:
        """Look every few seconds until stopping."""
        scope.ready()
        while await scope.pause(self._every_s):
            self._presence.run_out(clock.now())
            try:
                await self.check()
            except DatabaseAway:
                continue  # what was allowed goes on until somebody can be asked
            except Exception as error:  # the next look is the next chance; without looks nothing is ever ended
                incident("oversight", error)

    async def check(self) -> int:
        """Ask for everything that is open whether it still may be; gives how many were ended."""
        asked: dict[tuple[str, str, str, str], str] = {}
        ended = 0
        for visit in self._visits:
            key = (visit.engineer.key_id, visit.serial, visit.source, visit.role)
            if key not in asked:
                asked[key] = await self._why(visit)
            if asked[key]:
                self._counters.add("sessions_revoked")
                self._audit.note("revoked", id=visit.visit_id, key_id=visit.engineer.key_id, why=asked[key])
                visit.cut(asked[key])
                ended += 1
        return ended

    async def _why(self, visit: Visit) -> str:
        try:
            entitled = await self._entitlements.of(visit.engineer, visit.serial, visit.source)
        except Denied as denied:
            return denied.text
        if visit.role and visit.role not in entitled.roles:
            return f"{visit.engineer.name} has the role {visit.role} no more"
        return ""

    async def recheck(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `recheck`, which commands say that have taken something away."""
        return {"ended": await self.check()}

    async def terminate(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `terminate`: {id, reason?, by?}."""
        visit = self._visits.known(str(args["id"]))
        reason = str(args.get("reason") or "")
        if len(reason) > 200 or not reason.isprintable():
            raise GatepostError("a reason is one line of at most 200 characters", EX_USAGE)
        self._audit.write("terminated", id=visit.visit_id, by=str(args.get("by", "")), why=reason)
        self._counters.add("sessions_terminated")
        visit.cut("this session was ended by support's operator" + (f": {reason}" if reason else ""))
        return {"terminated": visit.visit_id, **visit.shown()}
