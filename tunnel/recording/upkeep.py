"""What the recorder does beside recording: closes what a crash cut, signs, removes what is too old.

One object for each recorder, which runs `run` as a task. What cannot be signed now (keyd is away) is tried again every
minute, and after a restart, because a closed recording without a signature is found by its missing file.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from core import clock
from core.diagnostic import CRITICAL, WARNING, say
from core.disk import Disk, replace_file
from core.errors import GatepostError
from core.lifecycle import Scope
from tunnel.audit import AuditLog, head_digest
from tunnel.config import RecordingSection
from tunnel.recording.archive import SIGNATURE, Removed, close_cut, remove_old, unsigned
from tunnel.recording.signature import Signer
from tunnel.recording.space import Space

ROUND_S = 60.0
HOUR_S = 3600.0
SIGN_S = 10.0


class Upkeep:
    """Cares for the files of one directory."""

    def __init__(
        self,
        directory: Path,
        audit: AuditLog,
        section: RecordingSection,
        signer: Signer | None,
        open_ones: Callable[[], Collection[Path]],
    ) -> None:
        self._directory = directory
        self._audit = audit
        self._section = section
        self._signer = signer
        self._open_ones = open_ones
        self._space = Space(directory, section.recording_reserve)
        self._unsigned: dict[Path, bytes] = {}
        self._news = asyncio.Event()
        self._signing = asyncio.Lock()

    def closed(self, path: Path, digest: bytes) -> None:
        """Take a recording that has its last line, to sign it soon."""
        if self._signer is not None:
            self._unsigned[path] = digest
            self._news.set()

    async def run(self, scope: Scope) -> None:
        """Do all of it until stopping."""
        await self.close_cut()
        hour = 0.0
        while not scope.stopping.is_set():
            await self.sign()
            if clock.monotonic() >= hour:
                await self.remove_old()
                if await self.sign_head():
                    hour = clock.monotonic() + HOUR_S
            await self._lay_ballast()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._news.wait()
            self._news.clear()

    async def close_cut(self) -> None:
        """Close what the last recorder left open, and find what it left unsigned."""
        for path in await asyncio.to_thread(unsigned, self._directory):
            if path in self._open_ones() or path in self._unsigned:
                continue
            try:
                found = await asyncio.to_thread(close_cut, path)
            except OSError as error:
                say(CRITICAL, f"recorder: {path} cannot be closed: {error.strerror}")
                continue
            if found is None:
                continue
            if found.cut:
                facts = {"octets": found.octets, "sha256": found.sha256, "how": "cut"}
                self._audit.note("recording", path=self.relative(path), **facts)
            self.closed(path, found.digest)

    async def sign(self) -> None:
        """Sign what waits for it; what cannot be signed now waits for the next time."""
        async with self._signing:
            for path, digest in tuple(self._unsigned.items()):
                try:
                    signature = await self._signed(digest)
                except (GatepostError, OSError) as error:
                    say(WARNING, f"recorder: {path.name} cannot be signed now: {error}")
                    return
                await self._put(path, signature)

    async def _put(self, path: Path, signature: str) -> None:
        try:
            await asyncio.to_thread(_keep, path, signature)
        except FileNotFoundError:  # removed by hand, or too old
            self._unsigned.pop(path, None)
        except OSError as error:
            say(WARNING, f"recorder: the signature of {path.name} cannot be written: {error.strerror}")
        else:
            self._unsigned.pop(path, None)
            self._audit.note("recording-signed", path=self.relative(path))

    async def sign_head(self) -> bool:
        """Sign the audit log as far as it goes, if anything has come since the last time; false if that fails."""
        of = self._audit.unsigned
        if not of or self._signer is None:
            return True
        try:
            self._audit.head(of, await self._signed(head_digest(of)))
        except (GatepostError, OSError) as error:
            say(WARNING, f"recorder: the audit log cannot be signed now: {error}")
            return False
        return True

    async def remove_old(self) -> None:
        """Remove what is too old or too much; each is an audit line."""
        section = self._section
        if not section.recording_keep_days and not section.recording_keep:
            return
        try:
            for removed in await asyncio.to_thread(self._remove_old):
                path = self.relative(removed.path)
                self._unsigned.pop(removed.path, None)
                self._audit.note("recording-removed", path=path, octets=removed.octets, why=removed.why)
        except OSError as error:
            say(WARNING, f"recorder: old recordings cannot be removed: {error}")

    def relative(self, path: Path) -> str:
        """Name a recording as the audit log does: day and file."""
        return str(path.relative_to(self._directory))

    def _remove_old(self) -> list[Removed]:
        section = self._section
        kept = section.recording_keep_days, section.recording_keep
        return list(remove_old(self._directory, *kept, clock.now(), self._open_ones()))

    async def _lay_ballast(self) -> None:
        try:
            await asyncio.to_thread(self._space.keep)
        except OSError as error:
            say(WARNING, f"recorder: no ballast: {error}")

    async def _signed(self, digest: bytes) -> str:
        """Ask the signer. Raises GatepostError or OSError, a time-out among them."""
        sign: Callable[[bytes], Awaitable[str]] | None = self._signer
        if sign is None:
            raise GatepostError("there is no key to sign with")
        async with asyncio.timeout(SIGN_S):
            return await sign(digest)


def _keep(path: Path, signature: str) -> None:
    if not path.exists():
        raise FileNotFoundError(path)
    replace_file(Disk(), path.with_name(path.name + SIGNATURE), signature.encode("ascii"), mode=0o600)
