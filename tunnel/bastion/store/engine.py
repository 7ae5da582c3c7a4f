"""What the parts of the store need of a database: run their work, whole or not at all.

Implemented by `sqlite.py` and `postgresql.py`.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from core.database import Work

T = TypeVar("T")


class Engine(Protocol):
    """A database that runs generators of statements (`core/database.py`)."""

    async def read(self, work: Callable[[], Work[T]]) -> T:
        """Run work that changes nothing. Raises `DatabaseAway` when the database does not answer."""

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """Run work in one transaction, alone; it is durable when this returns. It may be run more than once."""

    async def close(self) -> None:
        """Finish what was asked and let the database go."""
