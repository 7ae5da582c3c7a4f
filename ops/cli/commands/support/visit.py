"""`techsupport approve`, `refuse`, `kill`, `watch`, `recordings`: the administrator and those who are in.

The console knows the sessions of support engineers; all of this asks it, from its own process too. Whoever watches
sees the screen of a session and cannot type into it.
"""

from typing import Annotated

from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help
from ops.cli.commands.support.state import CONSOLE
from ops.cli.display import octets, stamp
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table
from ops.cli.watch import follow

_SERIAL = "…"
Id = Annotated[str, Help("session, as `techsupport status` shows it", "ID")]


def render_answered(document: Document, width: int) -> str:
    """Say what became of a session."""
    who = " ".join(str(document[key]) for key in ("engineer", "case") if document.get(key))
    return f"Session {document['id']}{f' ({who})' if who else ''}: {document['done']}."


async def _told(call: Call, verb: str, id_: str, done: str) -> Document:
    document = await call.appliance.ask(CONSOLE, verb, id=id_, by=str(call.caller))
    return {**document, "id": id_, "done": done}


@command(
    "techsupport approve",
    "Let a support session begin that waits for your yes.",
    render=render_answered,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def approve(call: Call, id_: Id) -> Document:
    """Sessions wait where access was enabled with the question before each session."""
    return await _told(call, "service_approve", id_, "approved")


@command(
    "techsupport refuse",
    "Turn a support session away that waits for your yes.",
    render=render_answered,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def refuse(call: Call, id_: Id) -> Document:
    """Access stays enabled; the engineer is told that the customer said no."""
    return await _told(call, "service_refuse", id_, "refused")


@command(
    "techsupport kill", "End a support session.", render=render_answered, roles=ADMINISTRATORS, machines=MAIL_MACHINES
)
async def kill(call: Call, id_: Id) -> Document:
    """What it has started ends with it. Access stays enabled; `techsupport disable` ends that as well."""
    return await _told(call, "service_kill", id_, "ended")


def render_watched(document: Document, width: int) -> str:
    """Say how it ended; what there was to see was drawn as it came."""
    return f"Session {document['id']}: {document['ended']}."


@command(
    "techsupport watch",
    "See the screen of a support session, live, until Ctrl-C.",
    render=render_watched,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def watch(call: Call, id_: Id) -> Document:
    """First the screen as it is, then what comes; what would act on your terminal is left out."""
    return await follow(call, CONSOLE, "service_watch", id_)


def render_recordings(document: Document, width: int) -> str:
    """Show one recording a line, the newest first."""
    titles = ("Recording", 24), ("Engineer", 8), ("Case", 6), ("Begun", 0), ("Size", 0)
    heads = [Column(title, least=least, right=title == "Size") for title, least in titles]
    rows = [
        [
            _short(str(one["file"])),
            *(str(one.get(key) or "-") for key in ("engineer", "case")),
            stamp(one.get("started_at")),
            octets(one.get("size")),
        ]
        for one in document["recordings"]
    ]
    if not rows:
        return "No support session was recorded here."
    where = f"In {document['directory']}; {_SERIAL} is the serial number. asciinema plays them."
    return f"{table(heads, rows, width)}\n\n{where}"


def _short(file: str) -> str:
    """Leave the serial number, which all have in common, out of a recording's name."""
    day, slash, name = file.rpartition("/")
    serial, dash, number = name.rpartition("-")
    return f"{day}{slash}{_SERIAL if serial else ''}{dash}{number}"


@command(
    "techsupport recordings",
    "List this machine's own recordings of what support did.",
    render=render_recordings,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def recordings(call: Call) -> Document:
    """asciicast files, one for each channel; support has its own on the bastion."""
    return dict(await call.appliance.ask(CONSOLE, "service_recordings"))
