"""The console's control verbs `service_*`: what an administrator sees and does of support sessions.

Behind `techsupport status|approve|refuse|kill|watch|recordings`. A watcher asks again and again under the token that
the first answer gave; one that stays away is forgotten.
"""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.errors import EX_TEMPFAIL, EX_USAGE, GatepostError
from core.maillog import clean
from tunnel.recording.screen import Watch
from tunnel.service.desk import Desk
from tunnel.service.live import Live
from tunnel.service.notice import Notices

WATCHERS = 32
ABSENT_S = 60.0
LOOK_S = 5.0
"""How long an answer to a watcher waits for something to see."""
ANSWER_OCTETS = 512 * 1024
LISTED = 500
"""Recordings that are listed, the newest first."""

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class _Watcher:
    live: Live
    watch: Watch
    asked_at: float


class Verbs:
    """The verbs of one desk."""

    def __init__(self, desk: Desk, notices: Notices, recordings: Path) -> None:
        self._desk = desk
        self._notices = notices
        self._recordings = recordings
        self._watchers: dict[str, _Watcher] = {}

    def all(self) -> dict[str, Verb]:
        """Give the verbs by name."""
        return {
            "service_sessions": self.sessions,
            "service_approve": self.approve,
            "service_refuse": self.refuse,
            "service_kill": self.kill,
            "service_watch": self.watch,
            "service_recordings": self.recordings,
        }

    async def sessions(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_sessions`: who is in, who waits, and how many logins failed."""
        return {
            "sessions": [live.facts() for live in self._desk.live.values()],
            "waiting": self._desk.waiting.facts(),
            "failures": self._desk.access.attempts.failures,
        }

    async def approve(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_approve {id, by}`."""
        return self._answer(args, yes=True)

    async def refuse(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_refuse {id, by}`."""
        return self._answer(args, yes=False)

    async def kill(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_kill {id, by}`: end a session with all that it started."""
        live = self._session(args)
        text = f"support session {live.number} was ended by {_by(args)}"
        self._notices.note("service-killed", text, id=live.number, by=_by(args))
        facts = live.facts()
        live.kill("an administrator of the appliance ended this session")
        return facts

    async def watch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_watch {id, watch, by}`: what there is to see since the last answer, or soon."""
        token = str(args.get("watch") or "")
        watcher = self._watchers.get(token)
        if watcher is None:
            token, watcher = self._begin(args)
        watcher.asked_at = clock.monotonic()
        frames, octets = [], 0
        try:
            async with asyncio.timeout(LOOK_S):
                async for code, data in watcher.watch:
                    frames.append([code, base64.b64encode(data).decode("ascii")])
                    octets += len(data)
                    if octets > ANSWER_OCTETS or not watcher.watch.ready:
                        break
        except TimeoutError:
            pass
        ended = "" if frames else watcher.watch.ended
        if ended:
            del self._watchers[token]
        return {"watch": token, "frames": frames, "ended": ended}

    async def recordings(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_recordings`: what was recorded here of what support did."""
        return {
            "directory": str(self._recordings),
            "recordings": await asyncio.to_thread(_listed, self._recordings),
        }

    def _begin(self, args: dict[str, Any]) -> tuple[str, _Watcher]:
        self._forget()
        if len(self._watchers) >= WATCHERS:
            raise GatepostError("too many are watching support sessions", EX_TEMPFAIL)
        live = self._session(args)
        watch = live.recording.screen.watch()
        if watch is None:
            raise GatepostError("too many are watching this session", EX_TEMPFAIL)
        text = f"support session {live.number} is watched by {_by(args)}"
        self._notices.note("service-watched", text, id=live.number, by=_by(args))
        token = secrets.token_hex(8)
        watcher = self._watchers[token] = _Watcher(live, watch, clock.monotonic())
        return token, watcher

    def _forget(self) -> None:
        """Forget watchers that ask no more."""
        for token, watcher in tuple(self._watchers.items()):
            if clock.monotonic() - watcher.asked_at > ABSENT_S:
                watcher.watch.close()
                del self._watchers[token]

    def _session(self, args: dict[str, Any]) -> Live:
        live = self._desk.live.get(str(args["id"]).lower())
        if live is None:
            raise GatepostError(f"{args['id']}: no such support session; see `techsupport status`", EX_USAGE)
        return live

    def _answer(self, args: dict[str, Any], *, yes: bool) -> dict[str, Any]:
        answered = self._desk.waiting.answer(str(args["id"]), yes=yes)
        said = "approved" if yes else "refused"
        text = f"support session {answered['id']} {said} by {_by(args)}: {answered['what']}"
        self._notices.note(f"service-{said}", text, id=answered["id"], by=_by(args))
        return answered


def _by(args: dict[str, Any]) -> str:
    return clean(str(args.get("by") or "an administrator"))


def _listed(folder: Path) -> list[dict[str, Any]]:
    """Read the first line of the newest recordings; blocks."""
    files = sorted(folder.glob("*/*.cast"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = []
    for path in files[:LISTED]:
        try:
            with path.open("rb") as file:
                header = msgspec.json.decode(file.readline(65536))
            own = header["gatepost"]
            facts = {key: own.get(key) for key in ("engineer", "case", "key_id", "session", "request", "started_at")}
            found.append({"file": str(path.relative_to(folder)), "size": path.stat().st_size, **facts})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # being written, removed meanwhile, or not ours
    return found
