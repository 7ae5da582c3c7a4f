"""Sending recipients another way than their domain says: an operator's redirection, and the way out of a pseudo host.

The queue that a recipient stands in is its route: a redirected one stands in `[HOST]:PORT`, which the resolver takes
for what it says. Rows of the index learn of it with the next checkpoint; until that is committed a crash puts the
recipient back where it was, so whoever reports a move waits for the checkpoint. Does no I/O.
"""

from ipaddress import ip_address
from zlib import crc32

from core.errors import EX_USAGE, GatepostError
from core.record import CPQ_HOST, Recipient
from mail.queue.book import Book
from mail.queue.message import Message, Parcel, domain_of
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason

SMTP_PORT = 25
Key = tuple[str, str]


def route_name(text: str) -> str:
    """Name the queue for a host to redirect to: `HOST`, `ADDRESS` or either with `:PORT`. Raises status 64."""
    host, port = _split(text.strip())
    name = host.lower().rstrip(".")
    if not name or len(name) > 253 or not all(char.isalnum() or char in ".-:_" for char in name):
        raise GatepostError(f"{text!r} is no host to send mail to; give HOST, ADDRESS or HOST:PORT", EX_USAGE)
    if not 0 < port < 65_536:
        raise GatepostError(f"{text!r}: a port is a number from 1 to 65535", EX_USAGE)
    return f"[{name}]:{port}"


def _split(text: str) -> tuple[str, int]:
    if text.startswith("["):
        inner, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        return inner, (int(port) if port.isdecimal() else SMTP_PORT if not port else 0)
    try:
        return str(ip_address(text)), SMTP_PORT
    except ValueError:
        host, colon, port = text.rpartition(":")
    if not colon:
        return text, SMTP_PORT
    return host, (int(port) if port.isdecimal() else 0)


def own_way(message: Message, recipient: Recipient) -> Key:
    """Name the queue of a recipient's own domain, whatever pseudo host it stands in."""
    return (domain_of(recipient), message.outcome.gateway)


def released_way(message: Message, recipient: Recipient) -> Key:
    """Name the queue for held mail that goes on: the quarantine if it was on its way there, else its own domain."""
    outcome = message.outcome
    return (CPQ_HOST, outcome.target) if outcome.transfer_id else own_way(message, recipient)


class Rerouter:
    """Moves parcels from one queue to another."""

    def __init__(self, scheduler: Scheduler, book: Book) -> None:
        self._scheduler = scheduler
        self._book = book

    def move(self, parcel: Parcel, key: Key) -> None:
        """Put a parcel that is on no connection into another queue; it is NEW there, in nobody's line."""
        self._scheduler.withdraw(parcel)
        old, new = self._scheduler.destinations[parcel.destination], self._scheduler.destination(key)
        for destination, n in ((old, -len(parcel.recipients)), (new, len(parcel.recipients))):
            destination.active += n
            destination.attempted += n if parcel.attempts else 0
        parcel.move(Reason.REDIRECTED)
        parcel.destination = key
        parcel.next_attempt_at = 0.0
        parcel.host_level = False
        if parcel.message.stored:
            bucket = crc32(key[0].encode()) & 255
            self._book.rerouted += [(*key, bucket, parcel.mid, one.rid) for one in parcel.recipients]
        self._book.touch(parcel.message)

    def split_by(self, parcel: Parcel, way: "dict[int, Key]") -> list[Parcel]:
        """Move a parcel's recipients, each to the queue that `way` names for its RID; give the parcels they became."""
        groups: dict[Key, list[Recipient]] = {}
        for one in parcel.recipients:
            groups.setdefault(way[one.rid], []).append(one)
        moved: list[Parcel] = []
        for key, recipients in groups.items():
            part = parcel if len(recipients) == len(parcel.recipients) else parcel.split(recipients)
            self.move(part, key)
            moved.append(part)
        return moved
