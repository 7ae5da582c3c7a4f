"""Opens recordings, brings them and the audit log to disk every second, closes, signs and removes them.

A service of the bastion and of the appliance's console. What blocks runs in a thread, one round at a time. Every
recording that is opened, lost, closed, signed or removed is an audit line.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.diagnostic import CRITICAL, say
from core.lifecycle import Scope
from tunnel.audit import AuditLog
from tunnel.config import RecordingSection
from tunnel.recording.file import RecordingFile
from tunnel.recording.recording import Links, Recording, Told
from tunnel.recording.signature import Signer
from tunnel.recording.space import FULL, Space
from tunnel.recording.subject import Policy, RecordingRefused, Subject
from tunnel.recording.upkeep import Upkeep

FLUSH_S = 1.0
STOP_S = 2.0
_SAFE = re.compile(r"[^a-z0-9._-]")


def _nothing(_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class _Work:
    """What one round does with one recording."""

    recording: Recording
    file: RecordingFile
    data: bytes
    at_s: float
    close: Mapping[str, Any] | None

    def do(self) -> OSError | None:
        """Write and sync; in a thread."""
        try:
            self.file.append(self.data, self.at_s, None if self.close is None else dict(self.close))
        except OSError as error:
            return error
        return None


class Recorder:
    """All recordings of one daemon."""

    name = "recorder"

    def __init__(
        self,
        directory: Path,
        audit: AuditLog,
        section: RecordingSection | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._directory = directory
        self._audit = audit
        self._section = section or RecordingSection()
        self._space = Space(directory, self._section.recording_reserve)
        self._upkeep = Upkeep(directory, audit, self._section, signer, self._open_ones)
        self._files: dict[Recording, RecordingFile] = {}
        self._live: dict[str, Recording] = {}
        self._news = asyncio.Event()

    def open(
        self,
        subject: Subject,
        policy: Policy = Policy.STRICT,
        *,
        failed: Told = _nothing,
        hold: Callable[[bool], None] = _nothing,
    ) -> Recording:
        """Begin to record a channel. Raises RecordingRefused where the policy is strict and it cannot be recorded.

        failed: told once, with the reason, that a strict session must end. hold: told True when the session should
        hold its output back because the disk is slow, False when it may go on.
        """
        links = Links(failed, hold, self._news.set, lambda kind, facts: self._transferred(subject, kind, facts))
        recording = Recording(subject, policy, links, self._section.recording_input)
        if policy is Policy.EMERGENCY:
            self._audit.note("emergency", id=subject.session, key_id=subject.key_id, serial=subject.serial)
            say(CRITICAL, f"recorder: emergency access by {subject.key_id} to {subject.serial}")
        try:
            if self._section.recording != "off":
                self._begin(recording)
        except OSError as error:
            if policy is Policy.STRICT:
                raise RecordingRefused(error.strerror or str(error)) from error
            self._audit.note(
                "unrecorded", id=subject.session, key_id=subject.key_id, policy=policy.value, why=str(error)
            )
            say(CRITICAL, f"recorder: {subject.key_id} on {subject.serial} is not recorded: {error}")
        self._live[subject.session] = recording
        return recording

    @property
    def waiting(self) -> int:
        """Octets of all recordings that are not on the disk yet."""
        return sum(recording.pending for recording in self._live.values())

    def get(self, session: str) -> Recording | None:
        """Give a recording that is being made, by the id of its channel."""
        return self._live.get(session)

    async def run(self, scope: Scope) -> None:
        """Flush every second, or as soon as much has gathered, until stopping and all sessions have ended."""
        scope.start(self._upkeep.run(scope), name="upkeep")
        scope.ready()
        while not scope.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._news.wait()
            self._news.clear()
            await self.flush()
        # The other services end their sessions in the same moment: their last lines belong into the files.
        until = clock.monotonic() + STOP_S
        while self._live and clock.monotonic() < until:
            await asyncio.sleep(0.05)
            await self.flush()
        for recording in tuple(self._live.values()):
            recording.finish(how="stopped")
        await self.flush()
        await self.seal()

    async def seal(self) -> None:
        """Sign what is closed, and the audit log."""
        await self._upkeep.sign()
        await self._upkeep.sign_head()
        await self._sync_audit()

    async def flush(self) -> None:
        """Bring everything to disk, close what is finished, sign it. A full disk ends sessions, not the daemon."""
        work = [
            _Work(recording, file, recording.take(), recording.at_s, recording.close_facts)
            for recording, file in self._files.items()
            if recording.pending or recording.close_facts is not None
        ]
        for one, error in zip(work, await asyncio.to_thread(_round, work), strict=True):
            self._after(one, error)
        for recording in [one for one in self._live.values() if one.path is None and one.close_facts is not None]:
            del self._live[recording.subject.session]
        await self._sync_audit()

    async def _sync_audit(self) -> None:
        try:
            await asyncio.to_thread(self._audit.sync)
        except OSError as error:
            say(CRITICAL, f"the audit log cannot be synced: {error}")

    def _begin(self, recording: Recording) -> None:
        subject = recording.subject
        day = self._directory / time.strftime("%Y-%m-%d", time.gmtime(recording.started_at))
        day.mkdir(parents=True, exist_ok=True, mode=0o700)
        if recording.policy is not Policy.EMERGENCY:
            self._space.check()
        path = day / f"{_SAFE.sub('_', subject.serial)}-{_SAFE.sub('_', subject.session)}.cast"
        self._files[recording] = RecordingFile(path, msgspec.json.encode(subject.header(recording.started_at)) + b"\n")
        recording.path = path
        for kind, facts in subject.requests:
            recording.marker(kind, **facts)

    def _after(self, work: _Work, error: OSError | None) -> None:
        recording, file = work.recording, work.file
        recording.written(file.waiting)
        if error is not None:
            self._troubled(recording, error)
            return
        if work.close is None:
            return
        del self._files[recording], self._live[recording.subject.session]
        file.close()
        facts = {"path": self._upkeep.relative(file.path), "octets": file.octets, "sha256": file.sha256}
        self._audit.note("recording", id=recording.subject.session, **facts)
        self._upkeep.closed(file.path, file.digest)

    def _troubled(self, recording: Recording, error: OSError) -> None:
        """A disk does not take it: told once to whoever decides. A session that is over is closed with the ballast."""
        if recording.close_facts is not None:
            if error.errno in FULL and self._space.drop():
                self._news.set()
            return
        if recording.troubled:
            return
        recording.troubled = True
        subject = recording.subject
        facts = {"id": subject.session, "key_id": subject.key_id, "policy": recording.policy.value}
        self._audit.note("recording-trouble", **facts, why=str(error))
        say(CRITICAL, f"recorder: {subject.key_id} on {subject.serial}: {error}")
        recording.fail(f"the recording cannot be written: {error.strerror}")

    def _transferred(self, subject: Subject, kind: str, facts: Mapping[str, Any]) -> None:
        whose = {"id": subject.session, "key_id": subject.key_id, "serial": subject.serial}
        self._audit.note(kind, **whose, **facts)

    def _open_ones(self) -> set[Path]:
        return {file.path for file in self._files.values()}


def _round(work: Sequence[_Work]) -> list[OSError | None]:
    return [one.do() for one in work]
