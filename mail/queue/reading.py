"""One message at a time: its facts, its content in pieces, the oldest one, making it due.

Called by the control verbs of `delivery-queue`. Content is given as it would leave (trace on top, edits applied), in
bounded pieces read off the loop. Raises `GatepostError`: 66 when there is no such message, 75 when its content went
away while it was being read.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from core.clock import Clock
from core.errors import EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_USAGE, GatepostError
from core.journal import JournalDamaged
from core.record import Accepted
from core.sqlite import Database
from mail.content import render_chunks
from mail.queue.select import Found, Picker, Selector
from mail.queue.store import chosen

T = TypeVar("T")
PIECE = 2 << 20
"""Octets of one piece; as base64 it fits a control line several times."""
HEADERS = 64 << 10


class Reading:
    """Reads messages of the queue."""

    def __init__(self, picker: Picker, now: Clock) -> None:
        self._picker = picker
        self._now = now

    async def _find(self, mid: int) -> Found:
        found = (await self._picker.look(Selector(mids=(mid,)), [mid])).get(mid)
        if found is None:
            raise GatepostError(f"MID {mid} is not in the queue", EX_NOINPUT)
        return found

    async def facts(self, mid: int) -> dict[str, Any]:
        """Give envelope, age, headers and recipients of a message, as `showmessage` and `removemessage` need them."""
        found = await self._find(mid)
        headers = f"({found.damaged})"
        if not found.damaged:
            headers = await _off_loop(mid, lambda: headers_of(_rendered(found)))
        return facts_of(found.accepted, self._now(), headers) | {
            "where": "delivery",
            "recipients": [
                {
                    "rid": str(entry.recipient.rid),
                    "recipient": entry.recipient.address,
                    "destination": entry.destination,
                    "attempts": entry.attempts,
                    "last_reply": entry.last_reply or None,
                    "busy": entry.busy,
                }
                for entry in found.entries
            ],
        }

    async def piece(self, mid: int, offset: int) -> dict[str, Any]:
        """Give a piece of a message from an offset on; `next` is where the next one begins, None at the end."""
        found = await self._find(mid)
        if found.damaged:
            raise GatepostError(f"MID {mid} is damaged: {found.damaged}; removemessage takes it away", EX_DATAERR)
        return await _off_loop(mid, lambda: piece_of(_rendered(found), offset))

    async def oldest(self) -> dict[str, Any]:
        """Give the facts of the oldest message. Raises status 66 if the queue is empty."""
        stored = await self._picker.database.run(_first)
        mids = [*self._picker.book.messages, *(mid for mid in stored if mid not in self._picker.book.gone)]
        if not mids:
            raise GatepostError("the queue is empty", EX_NOINPUT)
        return await self.facts(min(mids))


def facts_of(accepted: Accepted, now: float, headers: str) -> dict[str, Any]:
    """Give what is said of a message wherever it is."""
    return {
        "mid": str(accepted.mid),
        "received_at": accepted.received_at,
        "age_s": max(0.0, now - accepted.received_at),
        "sender": accepted.sender,
        "size": accepted.size,
        "subject": accepted.subject,
        "headers": headers,
    }


def piece_of(chunks: Iterable[bytes], offset: int, most: int = PIECE) -> dict[str, Any]:
    """Give up to `most` octets from an offset on, in base64, and where to go on. Blocking."""
    if offset < 0:
        raise GatepostError("an offset is a number from 0 on", EX_USAGE)
    data, at = bytearray(), 0
    for chunk in chunks:
        data += chunk[max(0, offset - at) : max(0, offset + most + 1 - at)]
        at += len(chunk)
        if len(data) > most:
            break
    after = offset + most if len(data) > most else None
    return {"data": base64.b64encode(data[:most]).decode(), "next": after}


def _rendered(found: Found) -> Iterable[bytes]:
    return render_chunks(found.accepted, found.outcome, found.chunks())


def headers_of(chunks: Iterable[bytes]) -> str:
    """Give the header section as text, line ends as LF. Blocking."""
    head = b""
    for chunk in chunks:
        head += chunk
        if b"\r\n\r\n" in head or len(head) >= HEADERS:
            break
    return head[:HEADERS].partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\r\n", "\n")


async def _off_loop(mid: int, read: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(read)
    except (OSError, JournalDamaged) as error:
        raise GatepostError(f"MID {mid} cannot be read now, it may just have left: {error}", EX_TEMPFAIL) from None


def _first(database: Database) -> list[int]:
    return chosen(database, None, None, after=-1, most=20)
