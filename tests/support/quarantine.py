"""Two paired machines for tests of the central quarantine: real listeners, stores, journals and TLS in one process."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from core import pki
from core.content import Content, ContentStore
from core.ids import IdBlocks
from core.journal import Journal, Tail
from core.maillog import DEBUG, MailLog
from core.record import Accepted, Decision, Edit, Hold, Outcome, Recipient, decode_accepted, decode_outcome
from cpq.content import ContentFolder
from cpq.exchange.seen import SeenTransfers
from cpq.exchange.store import OwedIds, TakenIds
from cpq.hold import HoldIntake, Place
from cpq.listener import Binding, CpqListener
from cpq.locate import Location
from cpq.pairing import Pairing, Pairings
from cpq.policy import Policy
from cpq.resume import Resume, ResumeIntake
from cpq.store import SqliteStore
from cpq.transfer import QuarantineCourier, Sender
from tests.support.service import running

CONTENT = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= [hold]\r\nX-Long: a\r\n b\r\n\r\n.leading dot\r\n\xff\x00no line end"


@cache
def certificate(serial: str) -> tuple[bytes, bytes]:
    """Make (key, certificate) once for each serial: it is the slow part."""
    return pki.make_cpq_certificate(serial)


@dataclass
class Machine:
    """The files of one machine."""

    dir: Path
    serial: str
    role: str
    pairings: Pairings = field(init=False)
    log: MailLog = field(init=False)

    def __post_init__(self) -> None:
        for name in ("keys", "state", "spool/ids", "spool/incoming", "spool/journal"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        if not (self.dir / "keys/cpq.crt").exists():
            key, crt = certificate(self.serial)
            (self.dir / "keys/cpq.key").write_bytes(key)
            (self.dir / "keys/cpq.crt").write_bytes(crt)
        self.pairings = Pairings(self.dir / "pairing", self.dir / "keys/cpq.key", self.dir / "keys/cpq.crt")
        self.log = MailLog(self.dir / "mail.log", level=DEBUG)

    def ids(self, name: str) -> IdBlocks:
        """Give the numbers of one kind."""
        return IdBlocks(self.dir / "spool/ids" / name)

    def paired_with(self, other: "Machine", port: int = 1) -> None:
        """Pin the other machine's certificate."""
        self.pairings.add(
            Pairing(
                serial=other.serial,
                certificate=(other.dir / "keys/cpq.crt").read_text(),
                role=other.role,
                address="127.0.0.1",
                port=port,
                console_host="127.0.0.1",
                console_port=22,
            )
        )

    def logged(self) -> str:
        """Give the mail log so far."""
        self.log.flush()
        path = self.dir / "mail.log"
        return path.read_text() if path.exists() else ""


def machines(tmp_path: Path) -> tuple[Machine, Machine]:
    """Make a gateway and a management host that trust each other."""
    esa = Machine(tmp_path / "esa", "ESA-1", "esa")
    sma = Machine(tmp_path / "sma", "SMA-1", "sma")
    sma.paired_with(esa)
    esa.paired_with(sma)
    return esa, sma


@dataclass
class Quarantine:
    """A running cpq_listener of a management host with what is behind it."""

    listener: CpqListener
    intake: HoldIntake
    store: SqliteStore
    folder: ContentFolder


@asynccontextmanager
async def quarantine(
    sma: Machine, *, quota_octets: int = 0, policy: Policy | None = None, paused: Callable[[], str] = str
) -> AsyncIterator[Quarantine]:
    """Run the SMA's side."""
    store = SqliteStore(sma.dir / "quarantine.db")
    folder = ContentFolder(sma.dir / "spool/content")
    contents = ContentStore(sma.dir / "spool/incoming")
    place = Place(store, folder, contents, policy or Policy(), sma.ids("mid"), sma.log)
    intake = HoldIntake(place, sma.serial, quota_octets=quota_octets, paused=paused)
    listener = cpq_listener(sma, intake)
    try:
        async with running(listener):
            yield Quarantine(listener, intake, store, folder)
    finally:
        store.close()
        contents.close()


class Pokes:
    """Counts what the delivery queue would be told."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def poke(self, topic: str) -> None:
        self.topics.append(topic)


@dataclass
class Gateway:
    """A running cpq_listener of a gateway with what is behind it."""

    listener: CpqListener
    intake: ResumeIntake
    journal: Journal
    taken: TakenIds
    pokes: Pokes

    def accepted(self) -> list[tuple[Accepted, Outcome, bytes]]:
        """Give what the delivery queue would import."""
        entries = Tail(self.journal.directory).read()
        return [(decode_accepted(one.accepted), decode_outcome(one.outcome), one.data or b"") for one in entries]


def deliver(accepted: Accepted, prior: Outcome, content: Content) -> Outcome:
    """Be the rest of a pipeline that lets everything through and adds one edit."""
    return Outcome(accepted.mid, "deliver", finished=[*prior.finished, "rest"], edits=[Edit("insert", "X-Rest", "1")])


@asynccontextmanager
async def gateway(esa: Machine, resume: Resume = deliver) -> AsyncIterator[Gateway]:
    """Run the ESA's side."""
    seen = SeenTransfers()
    journal = Journal.open(esa.dir / "spool/journal/cpq-listener", show=seen.see)
    taken = TakenIds(esa.dir / "state/transfers.db")
    pokes = Pokes()
    intake = ResumeIntake(
        journal, taken, seen, resume, serial=esa.serial, mids=esa.ids("mid"), log=esa.log, queue=pokes
    )
    listener = cpq_listener(esa, intake)
    try:
        async with running(listener):
            yield Gateway(listener, intake, journal, taken, pokes)
    finally:
        taken.close()
        journal.close()


def cpq_listener(machine: Machine, intake: HoldIntake | ResumeIntake) -> CpqListener:
    """Make the listener of a machine on a free port."""
    return CpqListener(
        Binding(f"{machine.role}.example.test", "127.0.0.1", 0),
        intake,
        machine.pairings,
        icids=machine.ids("icid"),
        log=machine.log,
        state=machine.dir / "state/cpq-listener.json",
    )


@dataclass
class Job:
    """One message on its way."""

    accepted: Accepted
    outcome: Outcome
    content: bytes = CONTENT

    @property
    def mid(self) -> int:
        return self.accepted.mid

    @property
    def recipients(self) -> Sequence[Recipient]:
        return self.accepted.recipients

    def chunks(self) -> Iterable[bytes]:
        yield self.content[:20]
        yield self.content[20:]


def job(
    mid: int = 5,
    content: bytes = CONTENT,
    *,
    recipients: Sequence[str] = ("b@example.test",),
    body: str = "7BIT",
    **more: object,
) -> Job:
    """Give a message that a filter wants held in `Policy`, or with other fields of its outcome."""
    accepted = Accepted(
        mid=mid,
        icid=3,
        received_at=1_700_000_000.0,
        sender="a@example.com",
        recipients=[Recipient(rid, address) for rid, address in enumerate(recipients)],
        size=len(content),
        listener="InboundMail",
        remote_ip="192.0.2.1",
        trace=b"Received: from x\r\n\tby y; today\r\n",
        subject="Grüße [hold]",
        body=body,
    )
    fields: dict[str, object] = {
        "finished": ["message filters", "quarantine"],
        "edits": [Edit("insert", "X-Filter", "hold_it")],
        "decisions": [Decision("message filters", "hold_it", "subject", "quarantine", 12, 1.5)],
        "holds": [Hold("Policy", "message filter:hold_it", "[hold]")],
        "transfer_id": hashlib.sha256(b"%d" % mid).digest()[:16],
        "hold_count": 1,
        "destination": "the.cpq.host",
    }
    return Job(accepted, Outcome(mid, "quarantine", **{**fields, **more}), content)  # type: ignore[arg-type]


@asynccontextmanager
async def courier(machine: Machine, locate: Location | None = None) -> AsyncIterator[QuarantineCourier]:
    """Give the courier of a machine; `locate` is where released mail goes."""
    owed = OwedIds(machine.dir / "state/settle.db")

    async def located(serial: str) -> Location:
        assert locate is not None
        return locate

    sender = Sender(machine.serial, "here.example.test", machine.pairings, owed, machine.ids("dcid"), machine.log)
    try:
        yield QuarantineCourier(sender, located if locate is not None else None)
    finally:
        owed.close()
