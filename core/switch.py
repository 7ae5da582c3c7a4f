"""Another configuration while a daemon runs, in two steps: `prepare` does all that can fail, `apply` goes over to it.

The console has every daemon prepare a candidate file, puts it in the place of the machine's file, then has them apply.
A `Switch` is a daemon's side of that: the control verbs `configuration_prepare`, `configuration_apply` and
`configuration_drop`, SIGHUP (the machine's own file, both steps), and what is to become of a candidate whose console
never came back: after `HELD_S`, or what the console asks for, it is applied if it is the machine's file by then,
dropped if not. So a daemon agrees with the file whoever dies when. Raises `GatepostError`, `ConfigError` with every
fault.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.control import Handler
from core.diagnostic import ERROR, INFO, WARNING, incident, say
from core.disk import read_octets
from core.errors import EX_SOFTWARE, EX_TEMPFAIL, ConfigError, GatepostError, Problem

HELD_S = 60.0
MOST_HELD_S = 900.0


async def _nothing() -> None:
    """Apply nothing."""


def _let_be() -> None:
    """Drop nothing."""


@dataclass(frozen=True)
class Prepared:
    """A configuration that can be gone over to. Exactly one of `apply` and `drop` is called."""

    apply: Callable[[], Awaitable[None]] = _nothing
    """Goes by it from now on, without dropping a connection. Raises nothing: what can fail was done before."""
    drop: Callable[[], None] = _let_be
    """Lets go of what was taken hold of, such as addresses."""
    restart: tuple[str, ...] = ()
    """The keys that differ from what runs and count only after a restart."""


Prepare = Callable[[Path], Awaitable[Prepared]]
"""Reads a configuration file and builds everything that can fail; nothing changes yet. Raises `ConfigError`."""
Also = Callable[[], Awaitable[object]]


def prompt(act: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """Make an `apply` of something that takes no time."""

    async def apply() -> None:
        act()

    return apply


def joined(parts: list[Prepared]) -> Prepared:
    """Make one of several: applied in their order, dropped all."""

    async def apply() -> None:
        for part in parts:
            await part.apply()

    def drop() -> None:
        for part in parts:
            part.drop()

    return Prepared(apply, drop, tuple(dict.fromkeys(key for part in parts for key in part.restart)))


async def together(*parts: Awaitable[Prepared]) -> Prepared:
    """Prepare several things; what is wrong with any is told with all the others. Raises `ConfigError`."""
    done: list[Prepared] = []
    problems: list[Problem] = []
    for part in parts:
        try:
            done.append(await part)
        except ConfigError as error:
            problems += error.problems
        except GatepostError as error:
            problems += [Problem("configuration", "", line) for line in error.text.splitlines()]
        except BaseException:
            joined(done).drop()
            raise
    if problems:
        joined(done).drop()
        raise ConfigError(list(dict.fromkeys(problems)))
    return joined(done)


def content_digest(content: bytes) -> str:
    """Give what tells one configuration from another: daemons and whoever commits compare it."""
    return hashlib.sha256(content).hexdigest()


def digest_of(file: Path) -> str:
    """Give the digest of a configuration file; '' if it cannot be read."""
    try:
        return content_digest(read_octets(file))
    except OSError:
        return ""


@dataclass(frozen=True)
class _Candidate:
    token: str
    digest: str
    prepared: Prepared
    expiry: asyncio.TimerHandle


class Switch:
    """One daemon's way to another configuration."""

    def __init__(
        self, config: Path, digest: str, prepare: Prepare, *, also: Also | None = None, held_s: float = HELD_S
    ) -> None:
        """`digest` is that of the content that the daemon started with; `also` is done at SIGHUP in any case."""
        self._config = config
        self._digest = digest
        self._prepare = prepare
        self._also = also
        self._held_s = held_s
        self._lock = asyncio.Lock()
        self._candidate: _Candidate | None = None
        self.spawn: Callable[[Any, str], object] = _no_tasks
        """Starts a task of the daemon's; set by core/runtime.py."""

    def verbs(self) -> dict[str, Handler]:
        """Give the control verbs."""
        return {
            "configuration_prepare": self._on_prepare,
            "configuration_apply": self._on_apply,
            "configuration_drop": self._on_drop,
            "configuration_state": self._on_state,
        }

    async def take(self) -> tuple[str, ...]:
        """Go over to what the machine's file holds now (SIGHUP, `gatepost reload`); gives what needs a restart.

        Raises `ConfigError`; all stays as it was then.
        """
        try:
            async with self._lock:
                self._release()
                return await self._take()
        finally:
            if self._also is not None:
                await self._also()

    async def catch_up(self) -> None:
        """Take the machine's file if it has changed since this daemon read it: a commit may have come in between."""
        if await asyncio.to_thread(digest_of, self._config) not in ("", self._digest):
            async with self._lock:
                self._release()
                await self._take()

    async def _take(self) -> tuple[str, ...]:
        digest = await asyncio.to_thread(digest_of, self._config)
        prepared = await self._prepare(self._config)
        await self._go_over(prepared, digest)
        if prepared.restart:
            say(WARNING, f"this counts only after a restart: {', '.join(prepared.restart)}")
        return prepared.restart

    async def _go_over(self, prepared: Prepared, digest: str) -> None:
        try:
            await prepared.apply()
        except Exception as error:  # what was promised not to fail has: the daemon says so and goes on as it is
            number = incident("configuration", error)
            text = f"the configuration is in force in part only (incident {number}); restart this daemon"
            raise GatepostError(text, EX_SOFTWARE) from None
        self._digest = digest

    async def _on_prepare(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: read the candidate `file`, and hold what came of it for `token`."""
        file, token = Path(str(args["file"])), str(args["token"])
        async with self._lock:
            self._release()
            digest = await asyncio.to_thread(digest_of, file)
            prepared = await self._prepare(file)
            held_s = min(float(args.get("hold_s") or self._held_s), MOST_HELD_S)
            expiry = asyncio.get_running_loop().call_later(held_s, self._expire, token)
            self._candidate = _Candidate(token, digest, prepared, expiry)
        return {"restart": list(prepared.restart)}

    async def _on_apply(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: go over to the candidate of `token`."""
        async with self._lock:
            held = self._held(str(args["token"]))
            if held is None:
                raise GatepostError("this candidate is not held any more; the file itself counts", EX_TEMPFAIL)
            self._candidate = None
            await self._go_over(held.prepared, held.digest)
        return {"restart": list(held.prepared.restart)}

    async def _on_drop(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: let go of the candidate of `token`; of any, where no token is given."""
        async with self._lock:
            token = args.get("token")
            there = self._candidate is not None if token is None else self._held(str(token)) is not None
            if there:
                self._release()
        return {"dropped": there}

    async def _on_state(self, _: dict[str, Any]) -> dict[str, Any]:
        """Control verb: what this daemon goes by, and whether a candidate is held."""
        return {"digest": self._digest, "held": self._candidate is not None}

    def _held(self, token: str) -> _Candidate | None:
        held = self._candidate
        if held is None or held.token != token:
            return None
        held.expiry.cancel()
        return held

    def _release(self) -> None:
        held, self._candidate = self._candidate, None
        if held is not None:
            held.expiry.cancel()
            held.prepared.drop()

    def _expire(self, token: str) -> None:
        self.spawn(self._expired(token), "candidate configuration")

    async def _expired(self, token: str) -> None:
        """Whoever had this candidate prepared is gone: its file says what is in force."""
        async with self._lock:
            held = self._held(token)
            if held is None:
                return
            if await asyncio.to_thread(digest_of, self._config) != held.digest:
                self._release()
                say(WARNING, "a candidate configuration was not applied in time and is dropped")
                return
            self._candidate = None
            try:
                await self._go_over(held.prepared, held.digest)
            except GatepostError as error:
                say(ERROR, error.text)
                return
            say(INFO, "the configuration was committed and nobody said so: it is in force now")


def _no_tasks(coro: Any, _name: str) -> None:
    coro.close()
