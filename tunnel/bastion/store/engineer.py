"""Engineers in the store: who may have a certificate, for which keys, and what it may carry.

Raises GatepostError: 64 for what cannot be entered, 69 for an engineer who is not known.
"""

from collections.abc import Sequence

import msgspec

from core import clock
from core.database import Row, Work
from core.errors import EX_UNAVAILABLE, GatepostError
from tunnel.bastion.store.engine import Engine
from tunnel.bastion.store.record import EngineerEntry

_SELECT = "SELECT name, roles, keys, hours, sources, added_at, disabled_at FROM engineer"


class Engineers:
    """The engineers of the support organisation."""

    def __init__(self, engine: Engine, now: clock.Clock = clock.now) -> None:
        self._engine = engine
        self._now = now

    async def get(self, name: str) -> EngineerEntry | None:
        """Give an engineer, also one who is disabled."""
        return await self._engine.read(lambda: get(name))

    async def known(self, name: str) -> EngineerEntry:
        """Give an engineer who may work. Raises GatepostError that says which command helps."""
        return await self._engine.read(lambda: known(name))

    async def all(self) -> list[EngineerEntry]:
        """Give all engineers, by name."""
        return await self._engine.read(_all)

    async def put(self, entry: EngineerEntry) -> None:
        """Enter an engineer, or change one; `added_at` is kept."""
        now = self._now()
        await self._engine.change(lambda: _put(entry, now))

    async def disable(self, name: str) -> None:
        """Let an engineer have no more certificates and no more sessions."""
        now = self._now()
        await self._engine.change(lambda: _disable(name, now))


def unknown(name: str) -> GatepostError:
    """Say that an engineer is not known, and what to do."""
    return GatepostError(
        f"engineer {name} is not known; `gatepost bastion engineer add {name} --key FILE` does it", EX_UNAVAILABLE
    )


def get(name: str) -> Work[EngineerEntry | None]:
    """Look an engineer up."""
    rows = yield f"{_SELECT} WHERE name = $1", (name,)
    return _entry(rows[0]) if rows else None


def known(name: str) -> Work[EngineerEntry]:
    """Look up an engineer who has to be there and not disabled."""
    entry = yield from get(name)
    if entry is None:
        raise unknown(name)
    if entry.disabled_at:
        raise GatepostError(
            f"engineer {name} is disabled; `gatepost bastion engineer add {name}` lets {name} work again",
            EX_UNAVAILABLE,
        )
    return entry


def _all() -> Work[list[EngineerEntry]]:
    rows = yield f"{_SELECT} ORDER BY name", ()
    return [_entry(row) for row in rows]


def _put(entry: EngineerEntry, now: float) -> Work[None]:
    yield (
        "INSERT INTO engineer (name, roles, keys, hours, sources, added_at, disabled_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET roles = excluded.roles,"
        " keys = excluded.keys, hours = excluded.hours, sources = excluded.sources,"
        " disabled_at = excluded.disabled_at",
        (
            *(entry.name, _text(entry.roles), _text(entry.keys), _text(entry.hours), _text(entry.sources)),
            *(entry.added_at or now, entry.disabled_at),
        ),
    )


def _disable(name: str, now: float) -> Work[None]:
    rows = yield "UPDATE engineer SET disabled_at = $2 WHERE name = $1 RETURNING name", (name, now)
    if not rows:
        raise unknown(name)


def _text(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()


def _entry(row: Row) -> EngineerEntry:
    lists = [msgspec.json.decode(str(text), type=tuple[str, ...]) for text in row[1:5]]
    return msgspec.convert(
        dict(zip(EngineerEntry.__struct_fields__, (row[0], *lists, *row[5:]), strict=True)), EngineerEntry
    )
