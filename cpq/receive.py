"""The session of `cpq_listener`: who calls, what it brings, and that the two agree; both machines use it.

What becomes of a message is the intake's business: cpq/hold.py on the management host, cpq/resume.py on a gateway.
The SMTP machine keeps the order of SMTP, `protocol/quarantine/states.py` that of the extension. A peer is known by
the fingerprint of its certificate on every connection; a stranger is refused before anything is allocated for it.
Logs the connection (`CPQ ICID …`). Raises nothing: what is wrong is answered, and the message stays with its sender.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core.content import Content
from core.diagnostic import incident
from core.errors import GatepostError
from core.journal import JournalError
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from cpq.digest import HashedContent
from cpq.pairing import Pairing, Pairings
from protocol.address import Path
from protocol.quarantine.bounded import FrameError
from protocol.quarantine.frame import Frame, decode_frame
from protocol.quarantine.grammar import (
    METADATA,
    PROBE,
    Readiness,
    decode_settled,
    envelope_address,
    payload_octets,
    probe_reply,
)
from protocol.quarantine.states import Event, OutOfOrder, State, after
from protocol.reply import Reply
from protocol.smtp.conversation import Answer, Collect, ExtensionAnswer, Peer, TlsInfo

STRANGER = Reply(554, "5.7.1", "this certificate is not paired with this appliance")
UNPAIRED = Reply(421, "4.7.0", "this certificate is not paired with this appliance any more")
NEED_FRAME = Reply(503, "5.5.1", "send XCPQMETA first")
OUT_OF_ORDER = Reply(503, "5.5.1", "not now")
SENDER_DIFFERS = Reply(553, "5.5.4", "the sender is not that of the metadata")
RECIPIENT_DIFFERS = Reply(550, "5.5.4", "the recipient is not one of the metadata")
RECIPIENTS_MISSING = Reply(554, "5.5.4", "not all recipients of the metadata were given")
CONTENT_DIFFERS = Reply(554, "5.6.0", "the content is not the one that the metadata describe")
OK = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Ok")
FRAME_OK = Reply(250, "2.0.0", "Metadata ok, go on with MAIL")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that has come whole: what the frame says of it is true of the content."""

    frame: Frame
    frame_octets: bytes
    content: Content
    peer: Pairing
    icid: int


class Intake(Protocol):
    """What takes the messages. Everything is called in the loop thread and must not block."""

    def readiness(self) -> Readiness:
        """Tell who this is, what it takes and whether it does now."""

    def content(self) -> Content:
        """Start the content of a message."""

    def store(self, delivery: Delivery, answer: Answer) -> None:
        """Take the message over; answer once, when it is durable or was refused."""

    def settle(self, peer: str, transfer_ids: list[bytes], answer: Answer) -> None:
        """Forget transfer ids that this peer will never use again; answer once, when that is durable."""

    async def open(self, scope: Scope) -> None:
        """Repair what a crash left and start working; before the listener opens."""

    async def close(self) -> None:
        """Finish what was stored; after the last connection is gone."""


@dataclass(frozen=True, slots=True)
class Names:
    """How this side calls itself: listener in the log, host in the banner."""

    listener: str
    hostname: str


class _Channel:
    """Who calls, and what it has announced: the verbs of the extension."""

    def __init__(self, names: Names, intake: Intake, pairings: Pairings, icid: int, log: MailLog) -> None:
        self._names = names
        self._intake = intake
        self._pairings = pairings
        self._icid = icid
        self._log = log
        self._state = State.UNKNOWN
        self._peer: Pairing | None = None
        self._port = 0
        self._frame: Frame | None = None
        self._frame_octets = b""
        self._missing: Counter[str] = Counter()

    def extension(self, verb: str, argument: str, answer: ExtensionAnswer) -> None:
        """Answer XCPQSTAT; announce how many octets XCPQMETA and XCPQDONE bring."""
        if self._state is State.UNKNOWN:
            answer(Reply(421, "4.7.0", "must show a paired certificate first"))
            return
        if verb == PROBE:
            answer(self._probe(argument))
            return
        try:
            octets, fault = payload_octets(verb, argument)
        except FrameError as error:
            answer(Reply(421, "4.5.4", str(error)))
            return
        answer(Collect(octets, self._refusal(verb, fault)))

    def _probe(self, argument: str) -> Reply:
        if argument:
            return Reply(501, "5.5.4", "XCPQSTAT takes no argument")
        if not self._moved(Event.PROBED):
            return OUT_OF_ORDER
        return probe_reply(self._intake.readiness())

    def _refusal(self, verb: str, fault: str) -> Reply | None:
        if self._state not in (State.KNOWN, State.FRAMED):
            return OUT_OF_ORDER
        if not fault:
            return None
        if verb == METADATA:
            self._forget(Event.FRAME_REFUSED)
        return Reply(552, "5.5.4", fault)

    def extension_payload(self, verb: str, payload: bytes, answer: Answer) -> None:
        """Judge a frame, or settle transfer ids."""
        if verb == METADATA:
            answer(self._framed(payload))
            return
        if self._peer is None or not self._moved(Event.SETTLED):
            answer(OUT_OF_ORDER)
            return
        try:
            ids = decode_settled(payload)
        except FrameError as error:
            answer(Reply(501, "5.5.4", str(error)))
            return
        self._intake.settle(self._peer.serial, ids, answer)

    def _framed(self, payload: bytes) -> Reply:
        if not self._still_paired():
            self._forget(Event.FRAME_REFUSED)
            self._log.warning(f"CPQ ICID {self._icid} REJECT certificate is not paired any more")
            return UNPAIRED
        ready = self._intake.readiness()
        try:
            frame = decode_frame(payload)
            self._check(frame, ready)
        except FrameError as error:
            self._forget(Event.FRAME_REFUSED)
            self._log.warning(f"CPQ ICID {self._icid} metadata refused: {clean(str(error))}")
            return Reply(554, "5.5.4", f"metadata: {error}")
        if not ready.accepting:
            self._forget(Event.FRAME_REFUSED)
            return Reply(451, "4.3.2", clean(f"not accepting: {ready.reason}"))
        if not self._moved(Event.FRAMED):
            return OUT_OF_ORDER
        self._frame = frame
        self._frame_octets = payload
        self._missing = Counter(envelope_address(one.address, one.rid) for one in frame.recipients)
        return FRAME_OK

    def _still_paired(self) -> bool:
        """Whether the pairing that this connection was let in by is still there."""
        now = self._pairings.named(self._peer.serial) if self._peer is not None else None
        return now is not None and self._peer is not None and now.certificate == self._peer.certificate

    def _check(self, frame: Frame, ready: Readiness) -> None:
        if self._peer is None or frame.sender_serial != self._peer.serial:
            raise FrameError("sender_serial is not that of the certificate")
        if frame.direction != ready.direction:
            raise FrameError(f"direction is not {ready.direction}")

    def _forget(self, event: Event) -> None:
        self._frame = None
        self._frame_octets = b""
        self._missing = Counter()
        self._moved(event)

    def _moved(self, event: Event) -> bool:
        try:
            self._state = after(self._state, event)
        except OutOfOrder:
            return False
        return True


class CpqSession(_Channel):
    """One connection to `cpq_listener`: the conversation round the verbs of the extension."""

    def connected(self, peer: Peer) -> Reply:
        """Greet."""
        self._port = peer.local_port
        self._log.info(
            f"New SMTP CPQ ICID {self._icid} interface {self._names.listener} ({peer.local_host}) address {peer.host}"
            " reverse dns host unknown verified no"
        )
        return Reply(220, "", f"{self._names.hostname} ESMTP")

    def greeted(self, name: str, extended: bool) -> Reply | None:
        """Let any name pass: it is the certificate that counts. EHLO ends the frame (RFC 5321 4.1.4)."""
        self._forget(Event.DROPPED)
        return None

    def secured(self, tls: TlsInfo) -> Reply | None:
        """Look who is calling."""
        self._peer = self._pairings.identify(tls.peer_certificate_der)
        where = f"centralized policy quarantine on port {self._port}"
        if self._peer is None:
            self._log.warning(f"CPQ ICID {self._icid} REJECT certificate is not paired, {where}")
            return STRANGER
        self._state = after(self._state, Event.IDENTIFIED)
        self._log.info(f"CPQ ICID {self._icid} TLS success protocol {tls.version} cipher {tls.cipher}")
        self._log.info(f"CPQ ICID {self._icid} ACCEPT appliance {self._peer.serial}, {where}")
        return None

    def mail(self, sender: Path, parameters: Mapping[str, str | None]) -> Reply:
        """Take the sender if a frame has announced it."""
        if self._frame is None:
            return NEED_FRAME
        if sender.text != envelope_address(self._frame.sender, None):
            return SENDER_DIFFERS
        return OK if self._moved(Event.MAILED) else OUT_OF_ORDER

    def rcpt(self, recipient: Path, parameters: Mapping[str, str | None]) -> Reply:
        """Take each recipient of the frame, once."""
        if not self._missing[recipient.text]:
            return RECIPIENT_DIFFERS
        if not self._moved(Event.ADDRESSED):
            return OUT_OF_ORDER
        self._missing[recipient.text] -= 1
        return RECIPIENT_OK

    def message(self, size_hint: int | None) -> HashedContent | None:
        """Give the sink for the content."""
        if self._frame is None:
            return None
        return HashedContent(self._intake.content())

    def finished(self, content: HashedContent, answer: Answer) -> None:
        """Compare what came with what was announced, and hand it to the intake."""
        frame, peer, octets = self._frame, self._peer, self._frame_octets
        if frame is None or peer is None or not self._moved(Event.COMPLETED):
            content.discard()
            answer(OUT_OF_ORDER)
            return
        fault = self._fault(frame, content)
        if fault is not None:
            content.discard()
            self._log.warning(
                f"CPQ ICID {self._icid} MID {frame.sender_mid} of {peer.serial} refused: {fault.lines[0]}"
            )
            self._answered(fault, answer)
            return
        delivery = Delivery(frame, octets, content.content, peer, self._icid)
        self._intake.store(delivery, lambda reply: self._answered(reply, answer))

    def _fault(self, frame: Frame, content: HashedContent) -> Reply | None:
        if self._missing.total():
            return RECIPIENTS_MISSING
        if content.size != frame.size or content.sha256 != frame.sha256:
            return CONTENT_DIFFERS
        return None

    def _answered(self, reply: Reply, answer: Answer) -> None:
        self._forget(Event.ANSWERED)
        answer(reply)

    def aborted(self) -> None:
        """Drop the message and its frame."""
        self._forget(Event.DROPPED)

    def closed(self, reason: str) -> None:
        """Note the end of the connection."""
        self._forget(Event.CLOSED)
        if reason.startswith("TLS"):
            where = f"centralized policy quarantine on port {self._port}"
            self._log.warning(f"CPQ ICID {self._icid} TLS failed: {clean(reason)}, {where}")
        self._log.info(f"CPQ ICID {self._icid} close")


def incident_reply(error: Exception, log: MailLog, what: str) -> Reply:
    """Give the 451 for a message that could not be stored now, and log why; of what nobody foresaw, also where."""
    text = error.text if isinstance(error, GatepostError) else f"{type(error).__name__}: {error}"
    if not isinstance(error, GatepostError | JournalError | OSError):
        text += f", incident {incident('centralized policy quarantine', error)}"
    log.critical(f"centralized policy quarantine: {what}: {clean(text)}")
    return Reply(451, "4.3.0", "cannot be stored now, try again later")
