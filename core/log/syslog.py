"""Sending the lines of a log to a syslog host, from the log's own files, which are the queue.

One sender for each subscription, a task of the keeper's. It reads behind the writers, so nothing on the mail's path
waits for it; while the host is away the files keep the lines. Forms: RFC 5424 with octet counting on TCP (RFC 6587), or
the older `<PRI>Mon DD hh:mm:ss HOST LOG: Level: text`. Over UDP nobody says what arrived; over TCP what the system had
taken when a connection broke may be lost.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from core.diagnostic import incident
from core.lifecycle import Scope
from core.log.follow import Follower, Place
from core.log.subscription import Push, Subscription

_SEVERITIES: Final = {"Critical": 2, "Warning": 4, "Info": 6, "Debug": 7, "Trace": 7}
_STAMP: Final = 24
LONGEST: Final = 8192
"""Octets of one message; what is longer is cut."""
_LOOK_S: Final = 0.3
_PEER_S: Final = 20.0
_WAIT_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
_AT_ONCE: Final = 1 << 16


def message_of(line: str, one: Subscription, push: Push, hostname: str) -> bytes:
    """Give a line of a log as a syslog message, without framing."""
    stamp, rest = line[:_STAMP], line[_STAMP + 1 :]
    level, colon, text = rest.partition(": ")
    try:
        at = time.strptime(stamp, "%a %b %d %H:%M:%S %Y")
    except ValueError:
        at, level, text = time.localtime(), "Info", line
    priority = push.facility * 8 + _SEVERITIES.get(level if colon else "Info", 6)
    if push.form == "bsd":
        moment = time.strftime("%b %e %H:%M:%S", at)
        said = f"<{priority}>{moment} {hostname} {one.name}: {level}: {text}"
    else:
        seconds = time.mktime(at)
        offset = time.strftime("%z", time.localtime(seconds))
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}{offset[:3]}:{offset[3:]}"
        said = f"<{priority}>1 {moment} {hostname} gatepost - {one.name} - {text}"
    return said.encode("utf-8", "replace")[:LONGEST]


class _Datagrams(asyncio.DatagramProtocol):
    """Sends datagrams; remembers that the host refused one."""

    def __init__(self) -> None:
        self.refused: Exception | None = None

    def error_received(self, exc: Exception) -> None:
        self.refused = exc


class _Udp:
    def __init__(self, transport: asyncio.DatagramTransport, protocol: _Datagrams) -> None:
        self._transport = transport
        self._protocol = protocol

    async def send(self, messages: list[bytes]) -> None:
        for message in messages:
            self._transport.sendto(message)
        await asyncio.sleep(0.01)  # a refusal comes back, and the host's buffer is no larger than others'
        if self._protocol.refused is not None:
            raise self._protocol.refused

    def close(self) -> None:
        self._transport.close()


class _Tcp:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._counted = counted

    async def send(self, messages: list[bytes]) -> None:
        if self._reader.at_eof() or self._writer.is_closing():
            raise ConnectionResetError("the host closed the connection")
        if self._counted:
            self._writer.write(b"".join(b"%d %s" % (len(one), one) for one in messages))
        else:
            self._writer.write(b"".join(one + b"\n" for one in messages))
        async with asyncio.timeout(_PEER_S):
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


async def _connected(push: Push) -> _Udp | _Tcp:
    async with asyncio.timeout(_PEER_S):
        if push.transport == "tcp":
            reader, writer = await asyncio.open_connection(push.host, push.port)
            return _Tcp(reader, writer, counted=push.form == "rfc5424")
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=(push.host, push.port))
        return _Udp(transport, protocol)


class SyslogSender:
    """Sends one log."""

    def __init__(
        self,
        one: Subscription,
        hostname: str,
        place: Place | None,
        *,
        moved: Callable[[Place], None],
        note: Callable[[str], None],
    ) -> None:
        """`moved` hears how far it has come, `note` what an operator is to know."""
        assert one.push is not None
        self._one = one
        self._push = one.push
        self._hostname = hostname
        self._place = place
        self._moved = moved
        self._note = note
        self._missed = 0

    async def run(self, scope: Scope) -> None:
        """Send until stopping; begin again after whatever goes wrong."""
        failures = 0
        while not scope.stopping.is_set():
            try:
                await self._session(scope, failures)
            except OSError as error:  # a TimeoutError is one
                if not failures:
                    self._note(
                        f"{self._one.name}: syslog to {self._where} fails: {error.strerror or error or 'timeout'}"
                    )
            except Exception as error:  # one log that cannot be sent must not end the console
                self._note(f"{self._one.name}: syslog to {self._where}: incident {incident('syslog', error)}")
                failures = len(_WAIT_S)
            else:
                failures = 0
                continue
            await scope.pause(_WAIT_S[min(failures, len(_WAIT_S) - 1)])
            failures += 1

    @property
    def _where(self) -> str:
        return f"{self._push.host}:{self._push.port} ({self._push.transport})"

    async def _session(self, scope: Scope, failures: int) -> None:
        follower = await asyncio.to_thread(Follower, self._one.path, self._place)
        self._place = follower.place
        self._moved(follower.place)  # so that a restart begins here, even if nothing could be sent until then
        road = None
        try:
            road = await _connected(self._push)
            while not scope.stopping.is_set():
                data = await asyncio.to_thread(follower.read, _AT_ONCE)
                if not data:
                    await scope.pause(_LOOK_S)
                    continue
                await road.send([self._message(line) for line in data.decode("utf-8", "replace").splitlines()])
                if failures:
                    failures = 0
                    self._note(f"{self._one.name}: syslog to {self._where} works again")
                self._advance(follower)
        finally:
            follower.close()
            if road is not None:
                with contextlib.suppress(OSError):
                    road.close()

    def _message(self, line: str) -> bytes:
        return message_of(line, self._one, self._push, self._hostname)

    def _advance(self, follower: Follower) -> None:
        self._place = follower.place
        self._moved(follower.place)
        if follower.missed > self._missed:
            self._note(f"{self._one.name}: lines were gone before they could be sent to {self._where}; keep more files")
        self._missed = follower.missed
