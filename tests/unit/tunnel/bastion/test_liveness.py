"""tunnel.bastion.liveness: what the store cannot take down ends no tunnel."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from core.database import DatabaseError
from core.errors import EX_TEMPFAIL
from core.metrics import Counters
from tests.support.service import running
from tunnel.audit import AuditLog
from tunnel.bastion.liveness import Liveness
from tunnel.bastion.presence import Presence


class _Full:
    """The appliances of a store whose disk is full."""

    def __init__(self) -> None:
        self.appliances = self
        self.asked = asyncio.Event()
        self.times = 0

    async def seen(self, _serials: Sequence[str]) -> None:
        self.times += 1
        if self.times == 2:
            self.asked.set()
        raise DatabaseError("bastion.db: FullError: database or disk is full", EX_TEMPFAIL)


async def test_a_full_disk_under_the_store_ends_no_tunnel(tmp_path: Path, capfd: Any) -> None:
    """A store that could not write when somebody was last seen ended the bastion, and all tunnels with it."""
    store = _Full()
    presence = Presence(AuditLog(tmp_path / "audit.jsonl"), Counters(tmp_path / "counters.json"))
    async with running(Liveness(presence, cast(Any, store), 0.01)), asyncio.timeout(30):
        await store.asked.wait()
    assert "who was seen is not written down" in capfd.readouterr().err
