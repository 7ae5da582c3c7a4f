"""The process of the simulated appliances (`fleet.py`), as seen by who starts it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from bench.tunnels.fleet import Plan


class Fleet:
    """The process that holds the simulated appliances, as seen from here."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self.told: dict[str, Any] = {"open": 0, "back_s": []}

    async def listen(self) -> None:
        """Take what it tells, until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.told = json.loads(line)

    def say(self, word: str) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    def all_back(self, count: int) -> bool:
        """Tell whether so many tunnels are open, and as many have come back since the last `cut` or `mark`."""
        told = self.told
        return bool(told["open"] >= count and (len(told["back_s"]) >= count or not told["cut_at"]))

    async def until_open(self, count: int, within_s: float) -> bool:
        """Wait until so many tunnels are open (again)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self.all_back(count):
                    await asyncio.sleep(0.1)
                    if self._process.returncode is not None:
                        last = self._log.read_text().strip()[-2000:]
                        raise SystemExit(f"bench: the simulated appliances have ended: {last}")
        return self.all_back(count)


@asynccontextmanager
async def crew(plan: Plan, folder: Path) -> AsyncIterator[Fleet]:
    """Run the appliances of a plan; the plan and what the process complains of go to `folder`."""
    file, complaints = folder / "plan.json", folder / "fleet.log"
    file.write_bytes(msgspec.json.encode(plan))
    with complaints.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.tunnels.fleet", str(file)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=1 << 20,
        )
    fleet = Fleet(process, complaints)
    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(fleet.listen())
            try:
                yield fleet
            finally:
                listening.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
