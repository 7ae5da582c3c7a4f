"""A keyd on a socket of its own, and the appliance's half of a seed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core import agreement
from core.control import ControlServer
from tests.support.service import running
from tunnel.config import KeydSection
from tunnel.keyd import api
from tunnel.keyd.client import SOCKET, Keyd
from tunnel.keyd.server import KeydServer
from tunnel.seed import code
from tunnel.seed.derive import Derived, derive

BASTION = "upgrades.example.test"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, at: float = 1_795_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@asynccontextmanager
async def keyd(folder: Path, names: tuple[str, ...] = (BASTION,), **settings: Any) -> AsyncIterator[Keyd]:
    """Run keyd on `folder`/run/keyd.sock with its keys in `folder`/keyd, and give a client."""
    socket = folder / "run" / SOCKET
    now = settings.pop("now", Clock())
    server = KeydServer(folder / "keyd", KeydSection(**settings), names, now)
    socket.parent.mkdir(parents=True, exist_ok=True)
    control = ControlServer(socket, server.verbs)
    async with running(server, control):
        yield Keyd(socket)


class Box:
    """An appliance that has enabled access: what it derives, and what it publishes of that."""

    def __init__(self, serial: str = "564D00AABBCCDDEEFF00-0123456789AB") -> None:
        self.serial = serial
        self.private = agreement.make_private()
        self.public = agreement.encode(agreement.public_of(self.private))

    def enable(self, support: api.SupportKey, text: str, mode: str = "tunnel", day: int | None = None) -> Derived:
        """Derive from a seed as the appliance does."""
        seed, public = code.read(text), agreement.decode(support.public)
        return derive(
            agreement.agree(self.private, public),
            seed,
            serial=self.serial,
            appliance_key=agreement.decode(self.public),
            support_key=public,
            key_id=support.key_id,
            day=seed.day if seed.day is not None else day or 0,
            mode=mode,
        )
