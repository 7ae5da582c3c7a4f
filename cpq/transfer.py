"""The courier of the quarantine channel: `the.cpq.host` (gateway to quarantine) and `the.cpq.release.host` (back).

Handed to the delivery queue by its root; keeps the shapes of `mail/delivery/courier.py` without importing it. A
message that the other side does not take waits in the queue whatever the reason: nothing is bounced and nothing is
delivered in its place. What a wait cannot mend (5yz, a message that cannot be described) is also a critical line.
After the peer's 250 the transfer id is written down (`OwedIds`) before the queue hears of it; cpq/settle.py does the
rest. Logs the connection; the queue logs the message.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.errors import GatepostError
from core.killpoint import killpoint
from core.maillog import MailLog, clean
from core.record import CPQ_HOST, RELEASE_HOST, Accepted, Outcome, Recipient
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings, Timeouts, TlsSettings
from core.smtp.target import Target
from cpq.exchange.store import OwedIds
from cpq.locate import Location
from cpq.metadata import frame_of
from cpq.pairing import Pairings
from cpq.supply import Numbers
from protocol.errors import TemporaryFailure
from protocol.quarantine.bounded import FrameError
from protocol.quarantine.frame import Frame, encode_frame
from protocol.quarantine.grammar import (
    KEYWORD,
    METADATA,
    PROBE,
    SETTLE,
    Readiness,
    command_line,
    encode_settled,
    envelope_address,
    parse_probe,
)
from protocol.reply import Reply
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.failure import ClientFailure, PeerClosed, Stage, TlsError

DIRECTIONS = {CPQ_HOST: "hold", RELEASE_HOST: "release"}
CHUNK = 256 * 1024
_QUIT_S = 5.0
_TIMEOUTS = Timeouts(connect_s=10, tls_s=30, greeting_s=60, hello_s=60, command_s=300)


class Job(Protocol):
    """One message for the other side; the queue's own `Job` is one."""

    @property
    def mid(self) -> int:
        """The message."""

    @property
    def recipients(self) -> Sequence[Recipient]:
        """Those that still have to go; they go together."""

    @property
    def accepted(self) -> Accepted:
        """Envelope and facts."""

    @property
    def outcome(self) -> Outcome:
        """What the pipeline decided."""

    def chunks(self) -> Iterable[bytes]:
        """Give the content as it was received, from the start."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one recipient."""

    rid: int
    kind: Literal["delivered", "soft", "hard", "returned"]
    code: int
    enhanced: str
    text: str
    dsn: bool = True
    """The other appliance reports what becomes of it: nothing is relayed to a stranger here."""


Locate = Callable[[str], Awaitable[Location]]
"""Where released mail of an appliance is handed back, asked by serial. Raises `GatepostError`."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What a courier works with."""

    serial: str
    hostname: str
    pairings: Pairings
    owed: OwedIds
    dcids: Numbers
    log: MailLog
    source_address: str = ""
    implicit_tls: bool = False


class QuarantineCourier:
    """Opens connections to paired appliances."""

    def __init__(self, sender: Sender, locate: Locate | None = None) -> None:
        """`locate` is needed on the management host only."""
        self._sender = sender
        self._locate = locate

    async def open(self, destination: str, target: str, wish: str = "") -> "QuarantineLine":
        """Connect to the appliance that `destination` and `target` (its serial) lead to, and ask if it is ready.

        No message's `wish` changes how the channel is protected.
        Raises `TemporaryFailure` for everything that stands in the way.
        """
        location = await self._find(destination, target)
        line = await self._connect(location, destination)
        try:
            await self._probe(line, location, DIRECTIONS[destination])
        except BaseException:
            await line.close()
            raise
        return line

    async def _find(self, destination: str, target: str) -> Location:
        if destination == RELEASE_HOST and self._locate is not None:
            try:
                return await self._locate(target)
            except GatepostError as error:
                raise unreachable(f"where released mail goes is not known: {error.text}") from error
        pairings = self._sender.pairings
        peer = pairings.named(target) if target else pairings.only("sma")
        if peer is None:
            raise unreachable(f"no pairing with {target or 'a management host'}: pair the appliances again")
        return Location(peer.serial, peer.address, peer.port)

    async def _connect(self, location: Location, destination: str) -> "QuarantineLine":
        sender = self._sender
        peer = sender.pairings.named(location.serial)
        if peer is None:
            raise unreachable(f"no pairing with {location.serial}: pair the appliances again")
        settings = ConnectionSettings(
            ClientSettings(helo=sender.hostname), timeouts=_TIMEOUTS, source_address=sender.source_address
        )
        tls = TlsSettings(
            TlsUse.REQUIRED,
            sender.pairings.client_context(location.serial),
            server_name=destination,
            fingerprints=frozenset({peer.fingerprint}),
            implicit=sender.implicit_tls,
        )
        dcid = sender.dcids.next()
        try:
            connection = await connect(Target(location.serial, location.address, location.port), settings, tls)
        except ClientFailure as error:
            text = explain(error)
            sender.log.info(
                f"Connection Error: DCID: {dcid} IP: {location.address} port {location.port} details: {clean(text)}"
                f" interface: {sender.source_address or 'auto'} reason: centralized policy quarantine"
            )
            raise unreachable(text) from error
        sender.log.info(
            f"New SMTP DCID {dcid} interface {connection.local_address} address {location.address} port {location.port}"
        )
        if connection.tls is not None:
            version, cipher = connection.tls.version, connection.tls.cipher
            sender.log.info(f"DCID {dcid} TLS success protocol {version} cipher {cipher} {destination}")
        return QuarantineLine(connection, dcid, location, DIRECTIONS[destination], sender)

    async def _probe(self, line: "QuarantineLine", location: Location, direction: str) -> None:
        try:
            found = await line.probe()
        except (ClientFailure, FrameError) as error:
            raise unreachable(str(error)) from error
        if found.serial != location.serial:
            raise unreachable(f"the peer calls itself {clean(found.serial)}, not {location.serial}")
        if found.direction != direction:
            raise unreachable(f"the peer takes {clean(found.direction)!r}, not {direction!r}: is its role right?")
        if not found.accepting:
            raise unreachable(f"the peer is not accepting: {clean(found.reason)}")


class QuarantineLine:
    """One open connection. Used by one task at a time."""

    remote_host = ""
    excepted = False
    carried = 0

    def __init__(
        self, connection: ClientConnection, dcid: int, location: Location, direction: str, sender: Sender
    ) -> None:
        self.dcid = dcid
        self.remote_ip = location.address
        self.serial = location.serial
        self._connection = connection
        self._port = location.port
        self._direction = direction
        self._sender = sender

    @property
    def usable(self) -> bool:
        """Whether another message may be sent."""
        return self._connection.usable

    @property
    def moved_at_s(self) -> float:
        """Loop time of the last progress on the connection."""
        return self._connection.moved_at_s

    def lend(self, recall: Callable[[], bool]) -> None:
        """Do nothing: no other destination is behind this connection."""

    async def probe(self) -> Readiness:
        """Ask who the peer is and whether it takes mail. Raises `ClientFailure`, `FrameError`."""
        if KEYWORD not in self._connection.offers:
            raise FrameError("the peer does not offer XCPQ: is this its cpq_listener?")
        reply = await self._connection.command(command_line(PROBE))
        if reply.code != 250:
            raise FrameError(f"the peer refuses the probe: {reply}")
        return parse_probe(reply.lines)

    async def settle(self, transfer_ids: Sequence[bytes]) -> Reply:
        """Tell the peer that those ids will never be used again. Raises `ClientFailure`."""
        payload = encode_settled(transfer_ids)
        return await self._connection.command(command_line(SETTLE, payload), payload)

    async def send(self, job: Job) -> list[Carried]:
        """Carry one message; all its recipients share one fate."""
        try:
            reply = await self._carry(job)
        except ClientFailure as error:
            return self._results(job, "soft", Reply(451, "4.4.2", explain(error)))
        except (FrameError, OSError, GatepostError) as error:
            self._connection.abort()  # a transaction may be half way through
            self._alarm(job, f"it cannot be sent: {error}")
            return self._results(job, "soft", Reply(451, "4.3.0", f"cannot be sent to the quarantine: {error}"))
        if reply.code == 250:
            return await self._acknowledged(job, reply)
        if reply.permanent:
            self._alarm(job, f"appliance {self.serial} refuses it: {reply}")
        return self._results(job, "soft", reply)

    async def _acknowledged(self, job: Job, reply: Reply) -> list[Carried]:
        """Note that the id is to be settled; if that fails the message is sent again and recognised over there."""
        killpoint("quarantine.acknowledged")
        try:
            await self._sender.owed.owe(job.outcome.transfer_id, self.serial, job.mid)
        except GatepostError as error:
            self._alarm(job, f"it was taken, but that cannot be written down: {error.text}")
            return self._results(job, "soft", Reply(451, "4.3.0", "taken, but not written down here"))
        killpoint("quarantine.owed")
        return self._results(job, "delivered", reply)

    async def _carry(self, job: Job) -> Reply:
        """Send frame, envelope and content; give the reply that decides. After a refusal the line is usable again."""
        sha256 = await _digest(job)
        frame = frame_of(
            job.accepted,
            job.outcome,
            job.recipients,
            direction=self._direction,
            serial=self._sender.serial,
            sha256=sha256,
        )
        payload = encode_frame(frame)
        command = self._connection.command
        reply = await command(command_line(METADATA, payload), payload)
        if not reply.positive:
            return reply
        reply = await self._envelope(frame)
        if reply.positive:
            reply = await self._content(job, frame)
            if reply.positive:
                return reply
        await command("RSET")
        return reply

    async def _envelope(self, frame: Frame) -> Reply:
        sender = envelope_address(frame.sender, None)
        body = " BODY=BINARYMIME" if frame.body == "BINARYMIME" else ""  # else its bare CR and LF are refused
        reply = await self._connection.command(f"MAIL FROM:<{sender}> SIZE={frame.size}{body}")
        for one in frame.recipients:
            if not reply.positive:
                break
            reply = await self._connection.command(f"RCPT TO:<{envelope_address(one.address, one.rid)}>")
        return reply

    async def _content(self, job: Job, frame: Frame) -> Reply:
        """Send the content in chunks (RFC 3030): not an octet of it changes on the way."""
        left = frame.size
        async for piece in _pieces(job):
            left -= len(piece)
            reply = await self._connection.command(f"BDAT {len(piece)}{'' if left > 0 else ' LAST'}", piece)
            if not reply.positive or left <= 0:
                return reply
        if left:
            raise GatepostError(f"its content is {left} octets shorter than it should be")
        return await self._connection.command("BDAT 0 LAST")

    def _results(self, job: Job, kind: Literal["delivered", "soft"], reply: Reply) -> list[Carried]:
        text = " ".join(reply.lines)
        return [Carried(one.rid, kind, reply.code, reply.enhanced, text) for one in job.recipients]

    def _alarm(self, job: Job, text: str) -> None:
        self._sender.log.critical(
            f"MID {job.mid} stays in the queue for the centralized policy quarantine, port {self._port}: {clean(text)}"
        )

    async def close(self) -> None:
        """Take leave."""
        self._connection.close()
        try:
            async with asyncio.timeout(_QUIT_S):
                await self._connection.wait_closed()
        except TimeoutError:
            self._connection.abort()
        self._sender.log.info(f"DCID {self.dcid} close")


def explain(error: ClientFailure) -> str:
    """Say what a failed connection means on this channel.

    A TLS 1.3 server that refuses the client's certificate lets the handshake succeed and closes: success is the EHLO
    reply after TLS.
    """
    refused = isinstance(error, PeerClosed) and error.stage is Stage.EHLO
    alert = isinstance(error, TlsError) and "alert" in error.text.lower()
    if refused or alert:
        return "the peer refused our certificate: pair the appliances again"
    return str(error)


def unreachable(text: str) -> TemporaryFailure:
    """Give the failure of a connection that did not come about."""
    return TemporaryFailure(Reply(451, "4.4.1", text), text)


async def _digest(job: Job) -> bytes:
    known = job.accepted.transfer.sha256 if job.accepted.transfer is not None else b""
    if known:
        return known
    digest = hashlib.sha256()
    async for piece in _pieces(job):
        digest.update(piece)
    return digest.digest()


async def _pieces(job: Job) -> AsyncIterator[bytes]:
    """Give the content in pieces of at most 256 KiB, read off the loop where it may be large."""
    chunks = iter(job.chunks())
    large = job.accepted.size > CHUNK
    while (chunk := await asyncio.to_thread(next, chunks, None) if large else next(chunks, None)) is not None:
        for start in range(0, len(chunk), CHUNK):
            yield bytes(chunk[start : start + CHUNK])
