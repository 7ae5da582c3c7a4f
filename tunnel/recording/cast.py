"""Recordings of sessions in asciicast v2, one file per channel, written ahead and synced every second.

Output is `o`, resizing `r`, and everything else that was asked for (commands, environment, signals, end of
input) is an `m` marker with a JSON text, so that nothing happens without a trace. Input is not recorded: it
would hold passwords. Octets that are not UTF-8 are shown as replacement characters and kept in a marker.
`Recorder` is a service of the bastion. A recording that cannot be written calls `failed`, once.
"""

import asyncio
import base64
import codecs
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.diagnostic import CRITICAL, say
from core.lifecycle import Scope
from tunnel.audit import AuditLog

FLUSH_S = 1.0
_SAFE = re.compile(r"[^a-z0-9._-]")


class Recording:
    """One session's file. All methods but `flush` belong to the loop's thread and only fill a buffer."""

    def __init__(self, path: Path, header: Mapping[str, Any], failed: Callable[[str], None]) -> None:
        self.path = path
        self.octets = 0
        self._hash = hashlib.sha256()
        self._failed = failed
        self._broken = ""
        self._begun = clock.monotonic()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strict = codecs.getincrementaldecoder("utf-8")("strict")
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._buffer: list[bytes] = [msgspec.json.encode({"version": 2, **header}) + b"\n"]
        self.closing = False

    def output(self, data: bytes) -> None:
        """Add what the appliance sent."""
        text = self._decoder.decode(data)
        if text:
            self._event("o", text)
        try:
            self._strict.decode(data)
        except UnicodeDecodeError:
            self._strict.reset()
            self.marker("octets", base64=base64.b64encode(data).decode("ascii"))

    def resize(self, width: int, height: int) -> None:
        """Add a change of the terminal's size."""
        self._event("r", f"{width}x{height}")

    def marker(self, kind: str, **facts: Any) -> None:
        """Add a note about something that is not output."""
        self._event("m", msgspec.json.encode({"kind": kind, **facts}).decode("utf-8"))

    def finish(self, **facts: Any) -> None:
        """Add the last marker; the recorder's next flush closes the file."""
        if not self.closing:
            self.marker("close", **facts)
            self.closing = True

    def flush(self) -> None:
        """Write and sync what has gathered; blocks, so it runs in a thread."""
        buffer, self._buffer = self._buffer, []
        data = b"".join(buffer)
        if data and not self._broken:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
            self._hash.update(data)
            self.octets += len(data)

    def fail(self, reason: str) -> None:
        """Note that the file cannot be written any more and tell the session, once."""
        if not self._broken:
            self._broken = reason
            self._failed(reason)

    def close(self) -> str:
        """Close the file; gives the SHA-256 of what was written to it."""
        os.close(self._descriptor)
        return self._hash.hexdigest()

    def _event(self, code: str, text: str) -> None:
        at = round(clock.monotonic() - self._begun, 6)
        self._buffer.append(msgspec.json.encode([at, code, text]) + b"\n")


class Recorder:
    """Opens recordings, brings all of them and the audit log to disk every second, closes the finished ones."""

    name = "recorder"

    def __init__(self, directory: Path, audit: AuditLog) -> None:
        self._directory = directory
        self._audit = audit
        self._open: set[Recording] = set()

    def start(self, session: str, serial: str, header: Mapping[str, Any], failed: Callable[[str], None]) -> Recording:
        """Open the recording of one session. Raises OSError if there is no place for it."""
        day = self._directory / time.strftime("%Y-%m-%d", time.gmtime(clock.now()))
        day.mkdir(parents=True, exist_ok=True, mode=0o700)
        recording = Recording(day / f"{_SAFE.sub('_', serial)}-{session}.cast", header, failed)
        self._open.add(recording)
        return recording

    async def run(self, scope: Scope) -> None:
        """Flush every second until stopping, then once more."""
        scope.ready()
        while await scope.pause(FLUSH_S):
            await self.flush()
        # The other services end their sessions in the same moment: give their last lines one more round.
        await asyncio.sleep(0.2)
        await self.flush()

    async def flush(self) -> None:
        """Bring everything to disk and close what is finished. A full disk ends sessions, not the bastion."""
        for recording in tuple(self._open):
            closing = recording.closing
            try:
                await asyncio.to_thread(recording.flush)
            except OSError as error:
                recording.fail(f"{recording.path}: {error.strerror}")
            if closing:
                self._open.discard(recording)
                sha256 = recording.close()
                self._audit.note("recording", path=str(recording.path), octets=recording.octets, sha256=sha256)
        try:
            await asyncio.to_thread(self._audit.sync)
        except OSError as error:
            say(CRITICAL, f"the audit log cannot be synced: {error}")
