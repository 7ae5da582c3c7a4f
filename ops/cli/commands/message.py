"""`showmessage`, `archivemessage`, `oldmessage`, `removemessage`: one message by its MID, wherever it is.

The delivery queue is asked first, then the work queues of the gateways. Content comes in pieces over the control
socket; nothing of it reaches a terminal uncleaned.
"""

import asyncio
import base64
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from core.errors import EX_CANTCREAT, EX_NOINPUT, EX_TEMPFAIL, EX_USAGE, GatepostError
from ops.cli.account import INSPECTORS, STAFF
from ops.cli.argument import Help, UsageProblem
from ops.cli.commands.operation import QUEUE, operate
from ops.cli.dialogue import Dialogue
from ops.cli.display import age
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

MOST_SHOWN = 4 << 20
"""Octets of a message that `showmessage` gives."""
Mid = Annotated[str, Help("message ID", "MID")]
_FROM = re.compile(rb"^>*From ", re.MULTILINE)


def _number(mid: str) -> str:
    if not mid.isdecimal() or len(mid) > 18:
        raise UsageProblem(f"{mid!r} is not a MID: give a number")
    return str(int(mid))


async def _find(call: Call, mid: str) -> tuple[Path, Document]:
    """Find who has a message; gives its control socket and the facts. Raises status 66."""
    sockets = [
        path for daemon in (QUEUE, "gateway") if call.appliance.has(daemon) for path in call.appliance.sockets(daemon)
    ]
    down: GatepostError | None = None
    for path in sockets:
        try:
            return path, await call.appliance.ask_at(path, "message", mid=mid)
        except GatepostError as error:
            if error.status not in (EX_NOINPUT, EX_USAGE):
                down = error
    if down is not None:
        raise down
    raise GatepostError(f"MID {mid} is neither in the delivery queue nor in the work queue", EX_NOINPUT)


async def _content(call: Call, path: Path, mid: str) -> AsyncIterator[bytes]:
    """Give the content in pieces."""
    offset: int | None = 0
    while offset is not None:
        piece: Document = await call.appliance.ask_at(path, "message_piece", mid=mid, offset=offset)
        offset = piece["next"]
        yield base64.b64decode(piece["data"])


async def _ask_mid(call: Call, dialogue: Dialogue) -> Document | None:
    async def attempt() -> Document | None:
        mid = await dialogue.ask("Please enter the MID.")
        if not mid:
            return None
        await _find(call, _number(mid))
        return {"mid": mid}

    return await dialogue.until_right(attempt)


def render_message(document: Document, width: int) -> str:
    """Show the message."""
    cut = f"\n\n(The first {MOST_SHOWN >> 20} MiB; archivemessage gives all.)" if document["truncated"] else ""
    return f"{document['message']}{cut}"


@command(
    "showmessage",
    "Show a message of the queue.",
    render=render_message,
    dialogue=_ask_mid,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
    multiline={"message"},
)
async def showmessage(call: Call, mid: Mid) -> Document:
    """As it would be delivered, in ASCII: other octets and control characters are shown as escapes."""
    number = _number(mid)
    path, facts = await _find(call, number)
    data = bytearray()
    async for piece in _content(call, path, number):
        data += piece
        if len(data) > MOST_SHOWN:
            break
    text = bytes(data[:MOST_SHOWN]).replace(b"\r\n", b"\n").decode("ascii", "backslashreplace")
    return {"mid": number, "where": facts["where"], "message": text, "truncated": len(data) > MOST_SHOWN}


def render_archived(document: Document, width: int) -> str:
    """Say where it is."""
    return f"MID {document['mid']} has been archived in {document['path']}."


@command(
    "archivemessage",
    "Write a message of the queue into a file in mbox format.",
    render=render_archived,
    dialogue=_ask_mid,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def archivemessage(call: Call, mid: Mid) -> Document:
    """The file is `oldmessage_MID.mbox` in the folder `configuration` of the machine."""
    number = _number(mid)
    folder = call.appliance.files
    if folder is None:
        raise GatepostError("this console has no folder for files", EX_CANTCREAT)
    path, facts = await _find(call, number)
    target = folder / f"oldmessage_{number}.mbox"
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        await asyncio.to_thread(_begin, temporary)
        rest, first = b"", _from_line(facts)
        async for piece in _content(call, path, number):
            whole, rest = _lines(rest + piece)
            await asyncio.to_thread(_append, temporary, first + quoted(whole))
            first = b""
        last = quoted(_lines(rest + b"\n")[0]) if rest else b""
        await asyncio.to_thread(_append, temporary, first + last + b"\n")
        temporary.replace(target)
    except OSError as error:
        raise GatepostError(f"{target}: cannot be written: {error.strerror}", EX_CANTCREAT) from None
    finally:
        temporary.unlink(missing_ok=True)
    return {"mid": number, "path": str(target)}


def _begin(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    path.touch(mode=0o640)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _from_line(facts: Document) -> bytes:
    """Give the line that begins a message in a mailbox: sender and date in the form of asctime, in UTC."""
    sender = "".join(char for char in facts["sender"] if char.isprintable() and char != " ") or "MAILER-DAEMON"
    return f"From {sender} {time.asctime(time.gmtime(facts['received_at']))}\n".encode("utf-8", "replace")


def _lines(data: bytes) -> tuple[bytes, bytes]:
    """Give the whole lines, ended by LF alone, and what comes after them."""
    end = data.rfind(b"\n") + 1
    return data[:end].replace(b"\r\n", b"\n"), data[end:]


def quoted(lines: bytes) -> bytes:
    """Quote lines that begin with `From ` after any number of `>` (mboxrd), so that reading can undo it."""
    return _FROM.sub(lambda found: b">" + found.group(), lines)


def render_facts(document: Document, width: int) -> str:
    """Show MID, age and headers."""
    return f"MID {document['mid']}: {age(document['age_s'])} old\n\n{document['headers']}"


@command(
    "oldmessage",
    "Show the oldest message in the queue.",
    render=render_facts,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
    multiline={"headers"},
)
async def oldmessage(call: Call) -> Document:
    """Its MID, its age and its headers."""
    document: Document = await call.appliance.ask(QUEUE, "oldest_message")
    return document


async def _ask_remove(call: Call, dialogue: Dialogue) -> Document | None:
    async def attempt() -> Document | None:
        mid = await dialogue.ask("Please enter the MID.")
        if not mid:
            return None
        _, facts = await _find(call, _number(mid))
        dialogue.say(f"\n{render_facts(facts, 0)}\n")
        return {"mid": mid, "yes": True} if await dialogue.confirm("Remove this message?") else None

    return await dialogue.until_right(attempt)


def render_removed(document: Document, width: int) -> str:
    """Say that it is gone."""
    n = document["recipients"]
    return f"MID {document['mid']} removed ({n} recipient{'' if n == 1 else 's'})."


@command(
    "removemessage",
    "Remove a message from the queue.",
    render=render_removed,
    dialogue=_ask_remove,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def removemessage(
    call: Call, mid: Mid, *, yes: Annotated[bool, Help("do it without a question")] = False
) -> Document:
    """From the work queue, from its retries or from its destination queue; nobody is told. A message that is in active
    delivery is busy: exit status 75, try again."""
    number = _number(mid)
    if not yes:
        raise UsageProblem("it cannot be undone: say --yes to do it; showmessage shows it")
    path, facts = await _find(call, number)
    if facts["where"] != "delivery":
        return {"mid": number, **await call.appliance.ask_at(path, "remove_message", mid=number)}
    document = await operate(call, "delete", {"mids": [number]})
    if document["busy"]:
        done = f"; {document['recipients']} recipients were removed" if document["recipients"] else ""
        raise GatepostError(f"MID {number} is busy: it is in active delivery{done}; try again", EX_TEMPFAIL)
    return {"mid": number, "recipients": document["recipients"]}


COMMANDS = (showmessage, archivemessage, oldmessage, removemessage)
