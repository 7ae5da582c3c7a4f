"""A gate over a store in a test's folder, with a clock that tests set, and an audit log that keeps its lines."""

import contextlib
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

from core.password import make_hash
from ops.access.gate import Gate, Terms
from ops.access.record import Records
from tests.support.appliance import Audit


class Time:
    """A clock that stands."""

    now = 1_795_314_062.0

    def __call__(self) -> float:
        return self.now


@cache
def stored(password: str) -> str:
    """Give the stored form of a password, made once."""
    return make_hash(password)


@contextlib.asynccontextmanager
async def gate_in(folder: Path, audit: Audit, time: Time, terms: Terms | None = None) -> AsyncIterator[Gate]:
    """Give a gate that answers failures at once."""
    records = Records(folder / "access.db", "cli")
    try:
        yield Gate(records, audit.info, terms=terms or Terms(slow_s=0.0), now=time)
    finally:
        await records.close()
