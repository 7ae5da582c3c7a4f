"""The console's control verbs `service_*`: what an administrator sees and does of support sessions.

Behind `techsupport status|approve|refuse|kill|watch|recordings`.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from core.errors import EX_USAGE, GatepostError
from core.maillog import clean
from tunnel.recording.watching import Watched, Watchers
from tunnel.service.desk import Desk
from tunnel.service.live import Live
from tunnel.service.notice import Notices

LISTED = 500
"""Recordings that are listed, the newest first."""

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Verbs:
    """The verbs of one desk."""

    def __init__(self, desk: Desk, notices: Notices, recordings: Path) -> None:
        self._desk = desk
        self._notices = notices
        self._recordings = recordings
        self._watchers = Watchers()

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
        return await self._watchers.answer(str(args.get("watch") or ""), lambda: self._watched(args))

    async def recordings(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer `service_recordings`: what was recorded here of what support did."""
        return {
            "directory": str(self._recordings),
            "recordings": await asyncio.to_thread(_listed, self._recordings),
        }

    def _watched(self, args: dict[str, Any]) -> Watched:
        live = self._session(args)
        text = f"support session {live.number} is watched by {_by(args)}"
        facts = {"id": live.number, "by": _by(args)}
        return Watched(live.number, live.recording.screen, lambda: self._notices.note("service-watched", text, **facts))

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


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile: too old, or too much
        return 0.0


def _listed(folder: Path) -> list[dict[str, Any]]:
    """Read the first line of the newest recordings; blocks."""
    found = []
    for path in heapq.nlargest(LISTED, folder.glob("*/*.cast"), key=_written_at):
        try:
            with path.open("rb") as file:
                header = msgspec.json.decode(file.readline(65536))
            own = header["gatepost"]
            facts = {key: own.get(key) for key in ("engineer", "case", "key_id", "session", "request", "started_at")}
            found.append({"file": str(path.relative_to(folder)), "size": path.stat().st_size, **facts})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # being written, removed meanwhile, or not ours
    return found
