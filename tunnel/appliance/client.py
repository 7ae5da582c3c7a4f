"""The service `tunnel-client`: keeps the tunnel to the bastion while an administrator allows it.

One loop: wait for permission, make a round (`round.py`), hold the link (`link.py`), wait (`backoff.py`), again. It
owns the activation file and is the only one to move the state of `states.py`. The verbs `techsupport_*` of the
control socket are its methods `status`, `enable`, `disable`, `probe`. Logs each change of state; never a seed, never
content.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import clock
from core.condition import Condition, Figure
from core.errors import EX_IOERR, EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.runtime import spawn
from tunnel.appliance import activation, roaming
from tunnel.appliance.activation import Activation
from tunnel.appliance.backoff import Backoff
from tunnel.appliance.enabling import Enabling, wanted_of
from tunnel.appliance.link import Link, LinkTerms
from tunnel.appliance.probe import Probe
from tunnel.appliance.round import Dialler, Failed, Opened, Rows
from tunnel.appliance.states import Event, State, after
from tunnel.config import TunnelSection
from tunnel.control_message import Register

SETTLE_S = 30.0
"""How long enabling waits to tell how the first round over all ports ended."""
CHECK_S = 30.0
"""How often the deadline is compared with the wall clock: one long timer is wrong across a suspend."""
REMIND_S = 86_400.0
"""How often the administrator is reminded that access is on."""
NUDGE_S = 10.0
"""A changed network makes a waiting appliance dial at once, but not oftener than this."""


class TunnelClient:
    """Keeps one tunnel open while access is enabled and its time is not over."""

    name = "tunnel-client"

    def __init__(  # noqa: PLR0917 - one of each part
        self,
        section: TunnelSection,
        terms: LinkTerms,
        dialler: Dialler,
        enabling: Enabling,
        probe: Probe,
        state_file: Path,
        log: Callable[[str], None],
        *,
        warn: Callable[[str], None] | None = None,
        register: Register,
        now: clock.Clock = clock.now,
        check_s: float = CHECK_S,
    ) -> None:
        """`register` has the facts of this machine; `warn` reaches people."""
        self._section = section
        self._terms = terms
        self._dialler = dialler
        self._enabling = enabling
        self._probe = probe
        self._file = state_file
        self._log = log
        self._warn = warn or log
        self._facts = register
        self._now = now
        self._check_s = check_s
        self._activation = activation.load(state_file)
        self._state = self._state_at_start()
        self._backoff = Backoff(section.retry_first_s, section.retry_max_s, section.healthy_s)
        self._link: Link | None = None
        self._port = 0
        self._problem = ""
        self._rows = Rows()
        """Those of the last round that has ended."""
        self._round = self._rows
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()
        self._changing = asyncio.Lock()
        self._nudged = -NUDGE_S

    async def run(self, scope: Scope) -> None:
        """Keep the tunnel as allowed until stopping; then cut it."""
        # It may have been disabled between the building and now, when this process became the only one.
        self._activation = activation.load(self._file)
        self._state = self._state_at_start()
        scope.start(self._watch_deadline(scope), name="deadline")
        scope.start(roaming.watch(self._network_changed), name="network")
        scope.ready()
        while not scope.stopping.is_set():
            self._changed.clear()
            turn = scope.start(self._turn(), name="turn")
            await _first_of(turn, scope.stopping, self._changed)
            await _end(turn)
        if self._link is not None:
            self._link.cut()

    # --- the verbs -----------------------------------------------------------------------------------------

    def condition(self) -> Condition:
        """Say whether remote access is allowed, and whether the tunnel is up."""
        current, link = self._activation, self._link
        enabled = current.mode == activation.TUNNEL
        figures = (
            Figure("tunnel_enabled", enabled),
            Figure("tunnel_connected", link is not None),
            Figure("tunnel_until_seconds", current.tunnel_until_at if enabled else 0.0),
            Figure("tunnel_sessions", len(link.sessions()) if link else 0),
        )
        return Condition(figures=figures)

    async def status(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_status`: the document of `techsupport status`."""
        current, link = self._activation, self._link
        return {
            "mode": current.mode,
            "tunnel": self._state.value,
            "port": self._port or current.port,
            "since": current.enabled_at or None,
            "until": current.tunnel_until_at or None,
            "account_until": current.account_until_at or None,
            "seed_fingerprint": current.seed_fingerprint,
            "sessions": link.sessions() if link else [],
            "serial": self._terms.name.upper(),
            "host": self._dialler.names[0],
            "connected_at": link.opened_at if link else None,
            "hops": list(current.hops),
            "ask": current.ask,
            "shell": current.shell,
            "problem": self._problem,
            "doing": self._round.doing,
            "attempts": [attempt.shown() for attempt in self._rows.by_road.values()],
            "last_probe": self._probe.shown(),
        }

    async def enable(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_enable`: allow it and see how the first round ends.

        {mode: tunnel|sshaccess, port?, seed?, hops?, ask?, shell?, hours?}. Access that is already allowed is allowed
        anew: a new activation with all of its time, and whoever is in under the old one is cut off.
        """
        wanted = wanted_of(args, self._section)
        tunnel = wanted.mode == activation.TUNNEL
        if tunnel and not (self._terms.bastion_keys or self._terms.bastion_cas):
            raise GatepostError("the configuration pins no key of the bastion: set tunnel.bastion_cas", EX_USAGE)
        async with self._changing:
            new, seed = await self._enabling.allow(wanted, self._now(), self._activation)
            try:
                self._store(new)
            except OSError as error:
                raise GatepostError(f"{self._file}: {error.strerror}; nothing was enabled", EX_IOERR) from error
            self._log(f"remote access enabled, mode {new.mode}, activation {new.activation_id}")
            old = self._release()
            if old is not None:
                await old.farewell()
            if tunnel:
                self._tried.clear()
                self._move(Event.ENABLE)
                self._changed.set()
        if tunnel:
            await self._settle()
        return {**await self.status({}), "seed": seed}

    async def disable(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_disable`: nobody may come in and who is in is cut off."""
        async with self._changing:
            before, self._activation = self._activation, activation.disabled(self._activation)
            self._end_access("remote access disabled")
            try:
                activation.end(self._file, before)
            except OSError as error:
                text = f"{self._file}: {error.strerror}; the tunnel is cut, but logins stay possible: remove this file"
                raise GatepostError(text, EX_IOERR) from error
        return await self.status({})

    async def probe(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_probe`: try all ports without enabling anything."""
        first = self._activation.port or self._section.port
        return await self._probe.run(self._dialler.names, self._dialler.find, first)

    # --- one turn of the loop ------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Do what the state asks for; returns when there is something else to do."""
        if self._state is State.WAITING:
            await asyncio.sleep(self._backoff.wait_s())
            if self._state is State.WAITING:
                self._move(Event.DIAL)
        if self._state is State.CONNECTING:
            await self._dial()
        elif self._state is State.OPEN and self._link is not None:
            await self._hold(self._link)
        elif self._state is State.DRAINING and self._link is not None:
            await self._drain(self._link)
        elif self._state in (State.DISABLED, State.EXPIRED):
            await self._changed.wait()

    async def _dial(self) -> None:
        self._round = rows = Rows()
        try:
            result = await self._dialler.dial(self._activation, self._register(), rows)
        finally:
            rows.doing = ""
        if self._round is not rows:  # disabled or enabled anew meanwhile: nobody waits for this round any more
            if isinstance(result, Opened):
                result.link.cut()
            return
        self._rows = rows
        self._tried.set()
        if self._state is not State.CONNECTING:
            # Expired at the very moment the bastion let us in.
            if isinstance(result, Opened):
                result.link.cut()
        elif isinstance(result, Failed):
            self._backoff.failed(result.retry_after_s, refused=result.refused)
            if result.problem != self._problem:
                self._log(f"no tunnel: {result.problem}")
            self._problem = result.problem
            self._move(Event.FAILED)
        else:
            self._opened(result)

    def _opened(self, opened: Opened) -> None:
        candidate = opened.candidate
        self._link, self._port, self._problem = opened.link, candidate.port, ""
        self._move(Event.CONNECTED)
        good = {"last_good_port": candidate.port, "last_good_way": candidate.way.value, "proved": True}
        self._store_quietly(activation.changed(self._activation, **good))
        self._log(f"tunnel open to {candidate.name} ({candidate.address}) port {candidate.port} by {candidate.way}")

    async def _hold(self, link: Link) -> None:
        await link.wait_closed()
        if self._link is not link:
            return
        self._link = None
        self._backoff.lost(clock.monotonic() - link.begun, link.retry_after_s)
        self._move(Event.LOST)
        self._problem = f"the connection to {self._dialler.names[0]} port {self._port} was lost"
        self._log(self._problem)

    async def _drain(self, link: Link) -> None:
        async with asyncio.TaskGroup() as group:
            waiters = [group.create_task(link.wait_idle()), group.create_task(link.wait_closed())]
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            for waiter in waiters:
                waiter.cancel()
        link.cut()
        if self._link is not link or self._state is not State.DRAINING:
            return
        self._link = None
        self._move(Event.LOST)
        self._log("the last session over the expired tunnel has ended")

    async def _settle(self) -> None:
        """Wait a little for the tunnel, so that the administrator is told how it went."""
        if self._state in (State.WAITING, State.CONNECTING):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await self._tried.wait()

    def _register(self) -> Register:
        current = self._activation
        return Register(
            product=self._facts.product,
            series=self._facts.series,
            activation_id=current.activation_id,
            mode=current.mode,
            fingerprint=current.seed_fingerprint,
            key_id=current.key_id,
            day=current.day,
            until_at=current.tunnel_until_at,
            hops=current.hops,
            generation=0,
        )

    def _release(self) -> Link | None:
        """Stop dialling and let go of the link; gives it to whoever ends it."""
        link, self._link = self._link, None
        self._port, self._problem = 0, ""
        self._rows = self._round = Rows()
        self._backoff.reset()
        self._move(Event.DISABLE)
        self._changed.set()
        return link

    def _end_access(self, why: str) -> None:
        link = self._release()
        if link is not None:
            spawn(link.farewell(), "farewell to the bastion")
        self._log(why)

    # --- time, network and memory --------------------------------------------------------------------------

    async def _watch_deadline(self, scope: Scope) -> None:
        self._remember_time()
        while await scope.pause(self._check_s):
            now = self._now()
            current = self._activation
            if current.mode == activation.DISABLED:
                continue
            if now > current.latest_at + self._check_s:
                self._store_quietly(activation.changed(current, latest_at=now))
            if not current.account_open(now):
                self._store_quietly(activation.disabled(current))
                self._end_access("the time of support's account is over: remote access disabled")
            elif not current.tunnel_open(now) and self._state in (State.WAITING, State.CONNECTING, State.OPEN):
                self._expire()
            self._remind(now)

    def _remember_time(self) -> None:
        """Keep the time at which something was decided: a clock that is set back must not undo it."""
        now, current = self._now(), self._activation
        if current.mode != activation.DISABLED and now > current.latest_at:
            self._store_quietly(activation.changed(current, latest_at=now))

    def _remind(self, now: float) -> None:
        current = self._activation
        if current.mode != activation.DISABLED and now >= max(current.enabled_at, current.warned_at) + REMIND_S:
            self._store_quietly(activation.changed(current, warned_at=now))
            days = int((now - current.enabled_at) // REMIND_S)
            self._warn(f"remote access for support has been enabled for {days} day(s); `techsupport disable` ends it")

    def _expire(self) -> None:
        self._remember_time()
        self._move(Event.EXPIRE)
        self._log("the time of the tunnel is over: no new connections")
        if self._link is not None:
            self._link.withdraw()
        self._changed.set()

    def _network_changed(self) -> None:
        """Follow the network: give up a connection from an address that is gone, dial at once when one came."""
        link = self._link
        if link is not None and not roaming.is_ours(link.local):
            self._log(f"this machine no longer has the address {link.local}: dialling again")
            link.cut()
        elif self._state is State.WAITING and clock.monotonic() - self._nudged >= NUDGE_S:
            self._nudged = clock.monotonic()
            self._backoff.reset()
            self._changed.set()

    def _state_at_start(self) -> State:
        if self._activation.mode != activation.TUNNEL:
            return State.DISABLED
        return State.WAITING if self._activation.tunnel_open(self._now()) else State.EXPIRED

    def _move(self, event: Event) -> None:
        self._state = after(self._state, event)

    def _store(self, new: Activation) -> None:
        activation.save(self._file, new)
        self._activation = new

    def _store_quietly(self, new: Activation) -> None:
        """Remember what is only convenient; a full disk must not end a tunnel that works."""
        try:
            self._store(new)
        except OSError as error:
            self._log(f"{self._file}: {error}")


async def _first_of(turn: asyncio.Task[None], *events: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(event.wait()) for event in events]
        await asyncio.wait([turn, *waiters], return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()


async def _end(turn: asyncio.Task[None]) -> None:
    turn.cancel()
    await asyncio.wait([turn])
