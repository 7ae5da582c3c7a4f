"""The bastion's store: appliances, engineers, cases, grants, and which node holds which tunnel.

One interface on SQLite (one bastion) and on PostgreSQL (several). Used by the bastion and by its commands, which
may run while it does. Every statement of the bastion is in this package.

When the database is away, every method raises `DatabaseAway` (75) and works again as soon as it is back.
"""

from pathlib import Path

from core import clock
from core.database import DatabaseAway
from tunnel.bastion.store.appliance import Appliances
from tunnel.bastion.store.case import Cases
from tunnel.bastion.store.engine import Engine
from tunnel.bastion.store.engineer import Engineers
from tunnel.bastion.store.former import take_over
from tunnel.bastion.store.postgresql import PostgresqlEngine
from tunnel.bastion.store.presence import Seats
from tunnel.bastion.store.record import (
    Case,
    CaseSerial,
    EngineerEntry,
    Enrolled,
    Grant,
    Node,
    Publication,
    Published,
    Registered,
    Seat,
)
from tunnel.bastion.store.sqlite import SqliteEngine

__all__ = [
    "Case",
    "CaseSerial",
    "DatabaseAway",
    "EngineerEntry",
    "Enrolled",
    "Grant",
    "Node",
    "Publication",
    "Published",
    "Registered",
    "Seat",
    "Store",
    "open_store",
]


class Store:
    """What the bastion knows."""

    def __init__(self, engine: Engine, registry: Path | None = None, now: clock.Clock = clock.now) -> None:
        self._engine = engine
        self._registry = registry
        self.appliances = Appliances(engine, now)
        self.engineers = Engineers(engine, now)
        self.cases = Cases(engine, now)
        self.seats = Seats(engine, now)

    async def begin(self) -> None:
        """See that the database answers and is ours, and take over what was kept before there was a store."""
        await self.engineers.get("")
        if self._registry is not None:
            await take_over(self._registry, self.appliances)

    async def close(self) -> None:
        """Finish what was asked and let the database go."""
        await self._engine.close()


def open_store(database: str, directory: Path) -> Store:
    """Open the store at an address, or the file of the machine in a directory.

    The first use of it shows whether the database is there.
    """
    state = directory / "state"
    engine: Engine = PostgresqlEngine(database) if database else SqliteEngine(state / "bastion.db")
    return Store(engine, state / "registry")
