"""What the demonstration shows of remote access: a console, a file, a machine behind another, and the recordings.

Each step is a row of the closing table; a step that fails is noted and the others go on.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from core.errors import GatepostError
from ops.lab.engineer import Engineer
from ops.lab.layout import Layout
from ops.lab.machines import gatepost
from ops.lab.progress import say

_CLOSE_S = 10.0
Row = tuple[str, int, int, str]


class Visit:
    """An engineer's visit to the lab's appliances."""

    def __init__(self, layout: Layout, facts: dict[str, Any]) -> None:
        self._layout = layout
        self._facts = facts
        self._engineer = Engineer(facts, layout.first)
        self._rows: list[Row] = []

    async def run(self) -> list[Row]:
        """Make the visit; gives what was expected and found, with a note on what failed."""
        await self._step("support reached the ESA", self._console)
        await self._step("  fetched a capture by SFTP", self._capture)
        await self._step("  reached the SMA through the ESA", self._behind)
        await self._step("  the same, straight through the bastion", self._beyond)
        await self._step("  recordings hold what was done", self._recordings)
        return self._rows

    async def _step(self, name: str, work: Callable[[], Awaitable[bool]]) -> None:
        try:
            good, note = await work(), ""
        except (GatepostError, ValueError, OSError) as error:
            good, note = False, str(error)
        self._rows.append((name, 1, int(good), note))

    async def _console(self) -> bool:
        document = json.loads(await self._engineer.run("version --json"))
        say(f"an engineer reached {document['hostname']} through the bastion, version {document['version']}")
        return bool(document["serial"] == self._facts[self._layout.first]["serial"])

    async def _capture(self) -> bool:
        content = self._content()
        (self._layout.dir / self._layout.first / "captures" / "lab.pcap").write_bytes(content)
        return await self._engineer.fetch("captures/lab.pcap") == content

    @staticmethod
    def _content() -> bytes:
        """Give a capture file: its header, and packets that nobody looks at."""
        return bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000") + bytes(range(256)) * 64

    async def _behind(self) -> bool:
        document = json.loads(await self._engineer.run("version --json", "sma"))
        say(f"and went on to {document['hostname']}, which has no tunnel of its own")
        return bool(document["serial"] == self._facts["sma"]["serial"])

    async def _beyond(self) -> bool:
        document = json.loads(await self._engineer.run_beyond("version --json"))
        return bool(document["serial"] == self._facts["sma"]["serial"])

    async def _recordings(self) -> bool:
        """Verify every recording of the bastion with the command that support would use."""
        digest = hashlib.sha256(self._content()).hexdigest()
        config = str(self._layout.config("bastion"))
        files = await self._closed()
        for file in files:
            await asyncio.to_thread(gatepost, "bastion", "verify", str(file), "--config", config)
        say(f"{len(files)} recordings of the bastion are whole and signed")
        folder = self._layout.dir / "bastion" / "recordings"
        return any(digest in file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())

    async def _closed(self) -> list[Path]:
        """Wait until every recording has its signature: files are closed a moment after their session."""
        folder = self._layout.dir / "bastion" / "recordings"
        async with asyncio.timeout(_CLOSE_S):
            while True:
                casts = sorted(folder.rglob("*.cast"))
                if casts and all(cast.with_name(cast.name + ".sig").exists() for cast in casts):
                    return casts
                await asyncio.sleep(0.1)
