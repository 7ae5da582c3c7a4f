"""A message goes through a listener and the pipeline for a look only: `trace`.

It is the session and the pipeline that mail goes through, over a journal that stores nothing, numbers that are not
taken and counters that nobody sees: nothing is delivered, logged or counted. What was decided comes back as records,
the lines that the mail log would have, and the octets that would leave. Called by `daemons/tracing.py` in a thread; it
reads no DNS. Raises `GatepostError` 65 for an address that cannot be read.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from core.content import HEAD_BYTES
from core.errors import EX_DATAERR, GatepostError
from core.ids import IdBlocks
from core.maillog import MailLog, clean
from core.record import Accepted, Decision, Outcome
from core.smtp.session import Peer, TlsInfo
from mail.access import Access
from mail.content import render
from mail.decide import DEFAULT_DOMAIN, MASQUERADE_SENDER, UNCHANGED, decision
from mail.gateway import Gateway
from mail.intake import Intake, Taken
from mail.pipeline import BOUNCE_PROFILE, GATEWAY, Notes, Pipeline, Readable
from mail.receive import GatewaySession
from mail.rewrite.tables import Rewriting
from protocol.address import AddressError, parse_path
from protocol.address import Path as AddressPath
from protocol.reply import Reply

TRACED_TLS = "TLSv1.3"


@dataclass(frozen=True, slots=True)
class Trial:
    """A message that somebody asks about."""

    address: str
    """Of the sending host."""
    host: str
    """Its name, taken as verified; '' for none."""
    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass(slots=True)
class Findings:
    """What would become of it."""

    decisions: list[Decision] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """What the mail log would have."""
    replies: list[str] = field(default_factory=list)
    """The replies to the client, in order."""
    refused: str = ""
    """The reply that ended it before it was accepted."""
    accepted: Accepted | None = None
    outcome: Outcome | None = None
    content: bytes = b""
    """The octets that would leave."""


class _Lines(MailLog):
    """Takes the lines of the mail log, and writes none."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.follow(())
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    warning = critical = debug = info


class _Sink:
    """Holds the content of the one message."""

    failure = None

    def __init__(self) -> None:
        self.data = b""

    def write(self, chunk: bytes) -> None:
        """Take it, all in one."""
        self.data += chunk

    @property
    def size(self) -> int:
        """Octets so far."""
        return len(self.data)

    @property
    def head(self) -> bytes:
        """The beginning."""
        return self.data[:HEAD_BYTES]

    def discard(self) -> None:
        """Keep it: nothing was stored."""


class _Store:
    refusal = None
    room = 1 << 62

    def content(self) -> _Sink:
        """Start the content."""
        return _Sink()


class _Counters:
    def add(self, name: str, n: int = 1) -> None:
        """Count nothing."""


class _Intake:
    """In the place of the intake: decides about the message and keeps what came out."""

    store, counters = _Store(), _Counters()

    def __init__(self, pipeline: Pipeline, findings: Findings, log: _Lines) -> None:
        self._pipeline = pipeline
        self._findings = findings
        self._log = log

    @property
    def rewriting(self) -> Rewriting:
        """The tables that change addresses; another object than `NOTHING`, so that the session asks them."""
        tables = self._pipeline.rewriting()
        return Rewriting(tables.aliases, tables.domain_maps, tables.masquerades)

    def note_ready(self, accepted: Accepted) -> None:
        """A sinkhole has taken the message."""
        self._findings.accepted = accepted
        self._findings.outcome = Outcome(accepted.mid, "drop", reason="Dropped by sinkhole listener")

    def take(self, taken: Taken) -> None:
        """Run the pipeline."""
        findings, accepted = self._findings, taken.accepted
        data = cast(_Sink, taken.content).data
        findings.accepted = accepted
        if taken.drop:
            findings.outcome = Outcome(accepted.mid, "drop", reason=taken.drop)
            taken.answer(Reply(250, "2.0.0", "Ok"))
            return
        notes = Notes(every=True)
        outcome = findings.outcome = self._pipeline.run(accepted, Readable(taken.headers, lambda: data), notes=notes)
        self._log.lines += [text for _, text in notes.lines]
        findings.content = render(accepted, outcome, data)
        findings.decisions += _completed(accepted, outcome)
        taken.answer(Reply(250, "2.0.0", f"Ok:  Message {accepted.mid} accepted"))


def _completed(accepted: Accepted, outcome: Outcome) -> list[Decision]:
    """Give the decisions of the pipeline, and what counts where it had none to make."""
    made = list(outcome.decisions)
    if not any(one.stage == GATEWAY for one in made):
        made.insert(0, decision(GATEWAY, "", accepted.original_sender or accepted.sender, "default interface"))
    if not any(one.stage == BOUNCE_PROFILE for one in made):
        chosen = accepted.bounce_profile or "the destination's"
        made.insert(1, decision(BOUNCE_PROFILE, "listener" if accepted.bounce_profile else "", "", chosen))
    return made


def rehearse(trial: Trial, access: Access, pipeline: Pipeline, hostname: str) -> Findings:
    """Send a message through; blocking, for as long as its filters take."""
    findings, log = Findings(), _Lines()
    intake = _Intake(pipeline, findings, log)
    numbers = cast(IdBlocks, _Numbers())
    gateway = Gateway(hostname, cast(Intake, intake), log, numbers, numbers)
    gateway.decide = findings.decisions.append
    session = GatewaySession(gateway, access)
    _converse(session, trial, access, hostname, findings)
    findings.lines = log.lines
    return findings


class _Numbers:
    """Gives a number that no message has."""

    def next(self) -> int:
        """Give it."""
        return 1


def _converse(session: GatewaySession, trial: Trial, access: Access, hostname: str, findings: Findings) -> None:
    greeting = session.connected(Peer(trial.address, 0, access.address, 0, trial.host, bool(trial.host)))
    if _refuses(greeting, findings):
        return
    session.greeted(trial.host or "unknown", True)
    if access.hosts.lookup(trial.address, trial.host).policy.tls == "required":
        session.secured(TlsInfo(TRACED_TLS, "trace"))
    sender = _path(trial.sender, null=True)
    _defaulted(sender, hostname, findings)
    if _refuses(session.mail(sender, {}), findings):
        return
    if not any(one.stage == MASQUERADE_SENDER for one in findings.decisions):
        findings.decisions.append(decision(MASQUERADE_SENDER, "", sender.text, UNCHANGED))
    taken = 0
    for text in trial.recipients:
        recipient = _path(text)
        _defaulted(recipient, hostname, findings)
        reply = session.rcpt(recipient, {})
        findings.replies.append(_shown(reply))
        taken += reply.code < 400
    if not taken:
        findings.refused = findings.replies[-1] if findings.replies else "503 no recipients"
        session.aborted()
        return
    sink = session.message(len(trial.content))
    assert sink is not None, "nothing is short here"
    sink.write(trial.content)
    session.finished(sink, lambda reply: _end(reply, findings))


def _end(reply: Reply, findings: Findings) -> None:
    _refuses(reply, findings)


def _refuses(reply: Reply, findings: Findings) -> bool:
    findings.replies.append(_shown(reply))
    if reply.code >= 400:
        findings.refused = _shown(reply)
    return reply.code >= 400


def _shown(reply: Reply) -> str:
    text = reply.text if isinstance(reply.text, str) else " ".join(reply.text)
    return " ".join(word for word in (str(reply.code), reply.enhanced, clean(text)) if word)


def _path(text: str, *, null: bool = False) -> AddressPath:
    inner = text.strip().removeprefix("<").removesuffix(">")
    try:
        path = parse_path(f"<{inner}>".encode(), smtputf8=not inner.isascii())
    except AddressError as error:
        raise GatepostError(f"{text!r} is not an address: {error.reason}", EX_DATAERR) from None
    if not path.text and not null:
        raise GatepostError("an empty address stands for no recipient", EX_DATAERR)
    return path


def _defaulted(path: AddressPath, hostname: str, findings: Findings) -> None:
    """Record whether an address is completed; the session completes `postmaster` alone."""
    completed = f"{path.local}@{hostname}" if path.local and not path.domain else UNCHANGED
    findings.decisions.append(decision(DEFAULT_DOMAIN, "", path.text, completed))
