"""Which node holds which appliance's tunnel, in the store that several bastions share.

A node renews one lease for all its seats; a seat counts while its node's lease runs and the node has not been
started anew since. The last to take a seat has it: that is the newest authenticated connection.
"""

from collections.abc import Collection

import msgspec

from core import clock
from core.database import Row, Work
from tunnel.bastion.store.engine import Engine
from tunnel.bastion.store.record import Node, Seat

_SEAT = (
    "SELECT s.serial, s.node, s.connection, s.since_at, n.address FROM seat s"
    " JOIN node n ON n.name = s.node AND n.epoch = s.epoch WHERE n.until_at > $1"
)


class Seats:
    """Seats of appliances and leases of nodes."""

    def __init__(self, engine: Engine, now: clock.Clock = clock.now) -> None:
        self._engine = engine
        self._now = now

    async def lease(self, node: Node) -> None:
        """Renew a node's lease. With a new epoch, what its former life has held is forgotten."""
        await self._engine.change(lambda: _lease(node))

    async def take(self, node: Node, serial: str, connection: str) -> Seat | None:
        """Seat an appliance that has just come to this node; gives the seat that it had until now, if that counts."""
        now = self._now()
        return await self._engine.change(lambda: _take(node, serial, connection, now))

    async def keep(self, node: Node, serial: str, connection: str, since_at: float) -> Seat | None:
        """Seat an appliance that came when the database was away; gives the seat of a newer connection, if any."""
        now = self._now()
        return await self._engine.change(lambda: _keep(node, serial, connection, (since_at, now)))

    async def leave(self, serial: str, connection: str) -> None:
        """Give a seat up, unless a newer connection has it."""
        await self._engine.change(lambda: _leave(serial, connection))

    async def of(self, serial: str) -> Seat | None:
        """Give the seat of an appliance."""
        now = self._now()
        return await self._engine.read(lambda: _of(serial, now))

    async def all(self) -> list[Seat]:
        """Give all seats that count, by serial."""
        now = self._now()
        return await self._engine.read(lambda: _all(now))

    async def lost(self, node: Node, held: Collection[tuple[str, str]]) -> list[str]:
        """Give those of the held (serial, connection) that a newer connection has taken, at whatever node."""
        connections = dict(held)
        return await self._engine.read(lambda: _lost(node, connections))

    async def nodes(self) -> list[Node]:
        """Give the nodes whose leases run, by name."""
        now = self._now()
        return await self._engine.read(lambda: _nodes(now))


def _lease(node: Node) -> Work[None]:
    yield (
        "INSERT INTO node (name, epoch, address, until_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET"
        " epoch = excluded.epoch, address = excluded.address, until_at = excluded.until_at",
        (node.name, node.epoch, node.address, node.until_at),
    )
    yield "DELETE FROM seat WHERE node = $1 AND epoch <> $2", (node.name, node.epoch)


def _take(node: Node, serial: str, connection: str, since_at: float) -> Work[Seat | None]:
    former = yield from _of(serial, since_at)
    yield (
        "INSERT INTO seat (serial, node, epoch, connection, since_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (serial) DO UPDATE SET node = excluded.node, epoch = excluded.epoch,"
        " connection = excluded.connection, since_at = excluded.since_at",
        (serial, node.name, node.epoch, connection, since_at),
    )
    return former


def _keep(node: Node, serial: str, connection: str, times: tuple[float, float]) -> Work[Seat | None]:
    since_at, now = times
    seat = yield from _of(serial, now)
    if seat is not None and seat.since_at > since_at:
        return seat
    yield from _take(node, serial, connection, since_at)
    return None


def _leave(serial: str, connection: str) -> Work[None]:
    yield "DELETE FROM seat WHERE serial = $1 AND connection = $2", (serial, connection)


def _of(serial: str, now: float) -> Work[Seat | None]:
    rows = yield f"{_SEAT} AND s.serial = $2", (now, serial)
    return _seat(rows[0]) if rows else None


def _all(now: float) -> Work[list[Seat]]:
    rows = yield f"{_SEAT} ORDER BY s.serial", (now,)
    return [_seat(row) for row in rows]


def _lost(node: Node, connections: dict[str, str]) -> Work[list[str]]:
    rows = yield "SELECT serial, connection FROM seat WHERE node = $1 AND epoch = $2", (node.name, node.epoch)
    own = {str(serial): str(connection) for serial, connection in rows}
    return sorted(serial for serial, connection in connections.items() if own.get(serial) != connection)


def _nodes(now: float) -> Work[list[Node]]:
    rows = yield "SELECT name, epoch, address, until_at FROM node WHERE until_at > $1 ORDER BY name", (now,)
    return [msgspec.convert(dict(zip(Node.__struct_fields__, row, strict=True)), Node) for row in rows]


def _seat(row: Row) -> Seat:
    return msgspec.convert(dict(zip(Seat.__struct_fields__, row, strict=True)), Seat)
