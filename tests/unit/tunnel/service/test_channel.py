"""tunnel.service.channel: what is sent before a session may begin."""

import asyncio
from typing import Any

import asyncssh

from tunnel.service.channel import EARLY, ServiceChannel
from tunnel.service.visitor import ServiceLogin

ANA = ServiceLogin("ana", "SR1", "ana@SR1#1", True, 0.0, 0.0)


class _Channel:
    """What the session needs of asyncssh's channel: one window, given out again while nothing is paused."""

    def __init__(self) -> None:
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_environment_bytes(self) -> dict[bytes, bytes]:
        return {}


class _Front(asyncssh.SSHServerSession[bytes]):
    """The session behind the channel."""

    def __init__(self) -> None:
        self.came = b""
        self.over = asyncio.Event()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.came += data

    def eof_received(self) -> bool:
        self.over.set()
        return True


class _Host:
    """A desk whose administrator takes time."""

    def __init__(self) -> None:
        self.yes = asyncio.Event()
        self.front = _Front()

    async def admit(self, _login: ServiceLogin, _plan: object) -> None:
        await self.yes.wait()

    def begin(self, *_: object) -> _Front:
        return self.front


async def test_what_is_sent_before_the_yes_is_held_back_and_not_lost() -> None:
    """More than 256 KiB of it was dropped, and the session began in the middle of what was sent."""
    host: Any = _Host()
    chan: Any = _Channel()
    session = ServiceChannel(host, ANA)
    session.connection_made(chan)
    session.exec_requested("version")
    session.session_started()
    sent = b""
    for number in range(100):
        if not chan.paused:
            sent += (data := bytes([number]) * 32768)
            session.data_received(data, None)
    assert EARLY < len(sent) <= EARLY + 32768
    session.eof_received()
    host.yes.set()
    async with asyncio.timeout(30):
        await host.front.over.wait()
    assert host.front.came == sent
    assert not chan.paused
