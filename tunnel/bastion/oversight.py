"""The live side of the bastion for its operator: watch and end sessions; and what ends them by itself.

`Oversight` is a service: every few seconds it asks again whether what is open is still allowed (case, engineer, grant,
hours), and lets tunnels run out on the bastion's own clock. Answers the verbs `watch`, `terminate` and `recheck`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core import clock
from core.diagnostic import incident
from core.errors import EX_UNAVAILABLE, EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.metrics import Counters
from tunnel.audit import AuditLog
from tunnel.bastion.entitlement import Denied, Entitlements
from tunnel.bastion.presence import Presence
from tunnel.bastion.store import DatabaseAway, Enrolled
from tunnel.bastion.visit import Visit, Visits
from tunnel.recording.watching import Watched, Watchers

CHECK_S = 5.0
TUNNELS_EVERY = 12
"""At so many looks, the tunnels are compared with what is enrolled: the whole table is read for it."""


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
        enrolled: Callable[[], Awaitable[Sequence[Enrolled]]],
        every_s: float = CHECK_S,
    ) -> None:
        self._visits = visits
        self._presence = presence
        self._entitlements = entitlements
        self._audit = audit
        self._counters = counters
        self._enrolled = enrolled
        self._looks = 0
        self._every_s = every_s
        self._watchers = Watchers()

    async def run(self, scope: Scope) -> None:
        """Look every few seconds until stopping."""
        scope.ready()
        while await scope.pause(self._every_s):
            self._presence.run_out(clock.now())
            try:
                await self.check()
                self._looks += 1
                if self._looks % TUNNELS_EVERY == 0:
                    await self.check_tunnels()
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

    async def check_tunnels(self) -> None:
        """End tunnels of machines that may not have one any more: frozen, or with other keys by now."""
        enrolled = {one.serial: one for one in await self._enrolled()}
        for tunnel in self._presence.all():
            known = enrolled.get(tunnel.name)
            if known is not None and not known.frozen_at and known.tunnel_key == tunnel.key:
                continue
            why = "this serial is frozen" if known is not None and known.frozen_at else "another key is enrolled"
            self._audit.note("tunnel-revoked", serial=tunnel.name, source=tunnel.source, why=why)
            self._presence.close(tunnel, why)

    async def _why(self, visit: Visit) -> str:
        try:
            entitled = await self._entitlements.of(visit.engineer, visit.serial, visit.source)
        except Denied as denied:
            return denied.text
        if visit.role and visit.role not in entitled.roles:
            return f"{visit.engineer.name} has the role {visit.role} no more"
        return ""

    async def watch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `watch`: {id, by?} begins with the screen as it is, {id, watch} goes on."""
        token = str(args.get("watch") or "")
        return await self._watchers.answer(token, lambda: self._watched(str(args["id"]), str(args.get("by", ""))))

    def _watched(self, visit_id: str, by: str) -> Watched:
        visit = self._visits.known(visit_id)
        if visit.recording is None:
            raise GatepostError("there is nothing to see: the bastion only carries this connection", EX_UNAVAILABLE)

        def begun() -> None:
            self._audit.write("watch", id=visit.visit_id, by=by)
            visit.watchers += 1

        def left() -> None:
            visit.watchers -= 1
            self._audit.note("watch-end", id=visit.visit_id)

        return Watched(visit.visit_id, visit.recording.screen, begun, left)

    async def recheck(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `recheck`, which commands say that have taken something away."""
        ended = await self.check()
        await self.check_tunnels()
        return {"ended": ended}

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
