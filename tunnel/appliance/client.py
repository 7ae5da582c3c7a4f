"""The service `tunnel-client`: keeps the tunnel to the bastion while an administrator allows it.

One loop: wait for permission, dial (`dial.py`), hold (`link.py`), wait with jitter, again. It owns
the activation file and is the only one to move the state of `states.py`. The verbs `techsupport_*` of the
control socket are its methods `status`, `enable`, `disable`. Logs each change of state; never a seed, never
content.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import clock
from core.errors import EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.pki import user_name
from core.ssh import read_key
from tunnel.appliance import activation
from tunnel.appliance.activation import Activation
from tunnel.appliance.dial import Attempt, Connect, Resolver, connect_tcp, reach
from tunnel.appliance.link import Link, LinkFailed, LinkTerms
from tunnel.appliance.states import Event, State, after
from tunnel.config import TunnelSection
from tunnel.identity import SERVICE_SOCKET

SETTLE_S = 30.0
"""How long enabling waits to tell how the first round over all ports ended."""
CHECK_S = 30.0
"""How often the deadline is compared with the wall clock: one long timer is wrong across a suspend."""


class TunnelClient:
    """Keeps one tunnel open while access is enabled and its time is not over."""

    name = "tunnel-client"

    def __init__(
        self,
        section: TunnelSection,
        terms: LinkTerms,
        resolver: Resolver,
        state_file: Path,
        log: Callable[[str], None],
        *,
        connect: Connect = connect_tcp,
        now: clock.Clock = clock.now,
        check_s: float = CHECK_S,
    ) -> None:
        self._section = section
        self._terms = terms
        self._resolver = resolver
        self._file = state_file
        self._log = log
        self._connect = connect
        self._now = now
        self._check_s = check_s
        self._activation = activation.load(state_file)
        self._state = self._state_at_start()
        self._link: Link | None = None
        self._port = 0
        self._since_at = 0.0
        self._problem = ""
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()
        self._failures = 0

    async def run(self, scope: Scope) -> None:
        """Keep the tunnel as allowed until stopping; then cut it."""
        scope.start(self._watch_deadline(scope), name="deadline")
        scope.ready()
        while not scope.stopping.is_set():
            self._changed.clear()
            turn = scope.start(self._turn(), name="turn")
            await _first_of(turn, scope.stopping, self._changed)
            await _end(turn)
        if self._link is not None:
            self._link.cut()

    # --- the verbs -----------------------------------------------------------------------------------------

    async def status(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_status`: the document of `techsupport status`."""
        current = self._activation
        return {
            "mode": current.mode,
            "tunnel": self._state.value,
            "port": self._port or current.port,
            "since": current.enabled_at or None,
            "until": current.tunnel_until_at or None,
            "seed_fingerprint": current.seed_fingerprint,
            "sessions": self._link.sessions() if self._link else [],
            "serial": self._terms.name.upper(),
            "host": self._section.host,
            "connected_at": self._since_at or None,
            "problem": self._problem,
            "attempts": [_shown(attempt) for attempt in self._attempts.values()],
        }

    async def enable(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_enable` {mode: tunnel|sshaccess, port?}: allow it and see how the first try ends.

        Access that is already allowed is allowed anew, with all of its time.
        """
        mode = str(args.get("mode", activation.TUNNEL)).lower()
        port = args.get("port") or self._section.port
        if mode not in activation.MODES:
            raise GatepostError(f"mode is one of {', '.join(activation.MODES)}", EX_USAGE)
        if not isinstance(port, int) or not 0 < port < 65536:
            raise GatepostError("port is a number from 1 to 65535", EX_USAGE)
        if mode == activation.TUNNEL and not (self._terms.bastion_keys or self._terms.bastion_cas):
            raise GatepostError("the configuration pins no key of the bastion: set tunnel.bastion_cas", EX_USAGE)
        life_s = self._section.life_hours * 3600
        self._store(activation.enabled(mode, self._now(), life_s, port, self._activation))
        self._log(f"remote access enabled, mode {mode}, activation {self._activation.activation_id}")
        if mode == activation.SSHACCESS:
            self._cut("remote access without tunnel")
        else:
            await self._reopen()
            await self._settle()
        return await self.status({})

    async def disable(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `techsupport_disable`: nobody may come in and who is in is cut off."""
        before = self._activation
        self._store(Activation(last_good_port=before.last_good_port, latest_at=before.latest_at))
        self._cut("remote access disabled")
        return await self.status({})

    # --- one turn of the loop ------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Do what the state asks for; returns when there is something else to do."""
        if self._state is State.WAITING:
            await asyncio.sleep(self._wait_s())
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
        link = await self._try_ports()
        self._tried.set()
        if self._state is not State.CONNECTING:
            # Disabled or expired at the very moment the bastion let us in.
            if link is not None:
                link.cut()
            return
        if link is None:
            self._failures += 1
            self._move(Event.FAILED)
            return
        self._link, self._since_at, self._problem = link, link.opened_at, ""
        self._move(Event.CONNECTED)
        self._store_quietly(last_good_port=self._port)
        self._log(f"tunnel open to {self._section.host} port {self._port}")

    async def _try_ports(self) -> Link | None:
        try:
            async with asyncio.timeout(self._section.login_timeout_s):
                answer = await self._resolver.addresses(self._section.host)
        except Exception as error:  # whatever the resolver finds wrong, the answer is to try again later
            self._problem = f"{self._section.host}: the name cannot be looked up: {error or type(error).__name__}"
            self._log(self._problem)
            return None
        for port in self._ports():
            reached = await reach(answer.records, port, self._section.connect_timeout_s, self._note, self._connect)
            if reached is None:
                continue
            sock, attempt = reached
            try:
                link = await Link.open(sock, self._terms)
            except LinkFailed as error:
                self._note(Attempt(attempt.address, port, error.verdict, attempt.took_s, self._now()))
                self._log(f"{self._section.host} port {port}: {error.verdict.name}: {error.detail}")
                continue
            self._port = port
            return link
        return None

    async def _hold(self, link: Link) -> None:
        await link.wait_closed()
        if self._link is not link:
            return
        self._link, self._since_at = None, 0.0
        healthy = self._now() - link.opened_at >= self._section.healthy_s
        self._failures = 0 if healthy else self._failures + 1
        self._move(Event.LOST)
        self._problem = f"the connection to {self._section.host} port {self._port} was lost"
        self._log(self._problem)

    async def _drain(self, link: Link) -> None:
        idle = asyncio.Event()

        async def wait() -> None:
            await link.wait_idle()
            idle.set()

        async with asyncio.TaskGroup() as group:
            waiters = [group.create_task(wait()), group.create_task(link.wait_closed())]
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            for waiter in waiters:
                waiter.cancel()
        link.cut()
        if self._link is not link or self._state is not State.DRAINING:
            return
        self._link, self._since_at = None, 0.0
        self._move(Event.LOST)
        self._log("the last session over the expired tunnel has ended")

    async def _reopen(self) -> None:
        """Carry on or start after an enable, whatever the state was."""
        draining, link = self._state is State.DRAINING, self._link
        self._move(Event.ENABLE)
        self._failures = 0
        if draining and link is not None:
            try:
                await link.register()
            except LinkFailed as error:
                self._log(f"the name cannot be taken again: {error.detail}")
                link.cut()
        elif self._state is State.OPEN and link is not None and self._port != self._activation.port:
            # Another port was asked for: dial again. Sessions over the old connection end with it.
            link.cut()
        self._changed.set()

    async def _settle(self) -> None:
        """Wait a little for the tunnel, so that the administrator is told how it went."""
        self._tried.clear()
        if self._state in (State.WAITING, State.CONNECTING):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await self._tried.wait()

    def _cut(self, why: str) -> None:
        link, self._link = self._link, None
        self._since_at, self._port, self._problem = 0.0, 0, ""
        self._attempts.clear()
        self._move(Event.DISABLE)
        if link is not None:
            link.cut()
        self._log(why)
        self._changed.set()

    # --- time and memory -----------------------------------------------------------------------------------

    async def _watch_deadline(self, scope: Scope) -> None:
        while await scope.pause(self._check_s):
            now = self._now()
            if self._activation.mode == activation.TUNNEL and now > self._activation.latest_at + self._check_s:
                self._store_quietly(latest_at=now)
            allowed = self._activation.tunnel_open(now)
            if not allowed and self._state in (State.WAITING, State.CONNECTING, State.OPEN):
                self._expire()

    def _expire(self) -> None:
        self._move(Event.EXPIRE)
        self._log("the time of the tunnel is over: no new connections")
        if self._link is not None:
            self._link.withdraw()
        self._changed.set()

    def _state_at_start(self) -> State:
        if self._activation.mode != activation.TUNNEL:
            return State.DISABLED
        return State.WAITING if self._activation.tunnel_open(self._now()) else State.EXPIRED

    def _ports(self) -> list[int]:
        asked = self._activation.port or self._section.port
        order = [asked, *self._section.ports]
        return list(dict.fromkeys(order))

    def _wait_s(self) -> float:
        """Give the wait before the next attempt: none at first, then full jitter under a doubling bound."""
        if self._failures == 0:
            return 0.0
        section = self._section
        bound = min(section.retry_max_s, section.retry_first_s * 2 ** min(self._failures - 1, 20))
        return random.uniform(0, bound)  # noqa: S311 - spreads load, guards nothing

    def _note(self, attempt: Attempt) -> None:
        self._attempts[attempt.address, attempt.port] = attempt
        if attempt.verdict.advice:
            self._problem = f"port {attempt.port}: {attempt.verdict.advice}"

    def _move(self, event: Event) -> None:
        self._state = after(self._state, event)

    def _store(self, new: Activation) -> None:
        activation.save(self._file, new)
        self._activation = new

    def _store_quietly(self, **changes: Any) -> None:
        """Remember what is only convenient; a full disk must not end a tunnel that works."""
        try:
            self._store(activation.changed(self._activation, **changes))
        except OSError as error:
            self._log(f"{self._file}: {error}")


def build_client(
    section: TunnelSection, serial: str, directory: Path, resolver: Resolver, log: Callable[[str], None]
) -> TunnelClient:
    """Build the service from a machine directory, for `daemons/tunnel_client.py`."""
    terms = LinkTerms(
        name=user_name(serial),
        key=read_key(directory / "keys" / "tunnel_ed25519"),
        bastion=section.host,
        bastion_keys=section.bastion_keys,
        bastion_cas=section.bastion_cas,
        console=directory / "run" / SERVICE_SOCKET,
        login_timeout_s=section.login_timeout_s,
        keepalive_s=section.keepalive_s,
    )
    return TunnelClient(section, terms, resolver, directory / "state" / activation.FILE_NAME, log)


def _shown(attempt: Attempt) -> dict[str, Any]:
    return {
        "address": attempt.address,
        "port": attempt.port,
        "verdict": attempt.verdict.name,
        "stage": attempt.verdict.stage,
        "advice": attempt.verdict.advice,
        "took_ms": round(attempt.took_s * 1000),
        "at": attempt.at,
    }


async def _first_of(turn: asyncio.Task[None], *events: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(event.wait()) for event in events]
        await asyncio.wait([turn, *waiters], return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()


async def _end(turn: asyncio.Task[None]) -> None:
    turn.cancel()
    await asyncio.wait([turn])
