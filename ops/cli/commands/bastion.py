"""`tunnels`, `sessions`, `watch`, `terminate`: which appliances a bastion reaches, and what engineers do on them.

Asks the bastion daemon. A tunnel is not ended here: it belongs to its appliance's administrator. Whoever watches sees
the screen of a session and cannot type into it.
"""

from typing import Annotated

from ops.cli.account import ADMINISTRATORS, INSPECTORS
from ops.cli.argument import Help
from ops.cli.display import stamp
from ops.cli.registry import Call, Command, Document, command
from ops.cli.table import Column, table, tall_table
from ops.cli.watch import follow

_BASTION = frozenset({"bastion"})
_CONSOLE = "console"
"""What an engineer does who gave no command."""


def render_tunnels(document: Document, width: int) -> str:
    """Show one appliance a line, those that are connected first."""
    heads = [Column("Appliance"), Column("State"), Column("Since"), Column("Last Seen"), Column("From")]
    rows = [
        [
            str(one["serial"]),
            "online" if one["online"] else "silent",
            stamp(one["since"]),
            stamp(one["last_seen_at"]),
            f"{one['source']} to port {one['port']}",
        ]
        for one in document["tunnels"]
    ]
    rows += [[str(serial), "away", "-", "-", "-"] for serial in document["away"]]
    if not rows:
        return "No appliance is enrolled; `gatepost bastion enroll` does it."
    return tall_table(heads, rows, width, 4)


@command("tunnels", "Show which appliances are connected.", render=render_tunnels, roles=INSPECTORS, machines=_BASTION)
async def tunnels(call: Call) -> Document:
    """`online` is an appliance whose console has answered through the tunnel, `silent` one that is only connected."""
    return dict(await call.appliance.ask("bastion", "tunnels"))


def render_sessions(document: Document, width: int) -> str:
    """Show one engineer's session a line, in 80 columns; all of it is in the JSON document."""
    heads = [
        Column("ID"),
        Column("Engineer", least=8),
        Column("Case", least=6),
        Column("Appliance", least=9),
        Column("Since"),
        Column("From", least=8),
        Column("Mode"),
        Column("What", least=8),
    ]
    keys = ("engineer", "case", "serial")
    rows = [
        [
            str(one["id"])[:6],
            *(str(one[key]) for key in keys),
            stamp(one["since"]),
            str(one["source"]),
            str(one["mode"]),
            str(one["command"] or one.get("subsystem") or ("-" if one["mode"] == "through" else _CONSOLE)),
        ]
        for one in document["sessions"]
    ]
    return table(heads, rows, width or 80) if rows else "No engineer is on an appliance."


@command(
    "sessions",
    "Show which engineers are on which appliance.",
    render=render_sessions,
    roles=INSPECTORS,
    machines=_BASTION,
)
async def sessions(call: Call) -> Document:
    """Who is on this machine's own console is told by `who`."""
    return dict(await call.appliance.ask("bastion", "sessions"))


Id = Annotated[str, Help("session, as `sessions` shows it", "ID")]


def render_terminated(document: Document, width: int) -> str:
    """Say which session was ended."""
    return f"Session {document['terminated'][:6]} of {document['engineer']} on {document['serial']} was ended."


@command(
    "terminate",
    "End an engineer's session, or a connection straight through.",
    render=render_terminated,
    roles=ADMINISTRATORS,
    machines=_BASTION,
)
async def terminate(
    call: Call, id_: Id, *, reason: Annotated[str, Help("said to the engineer", "TEXT")] = ""
) -> Document:
    """The engineer is told so. Closing the case or disabling the engineer keeps both out."""
    return dict(await call.appliance.ask("bastion", "terminate", id=id_, reason=reason, by=str(call.caller)))


def render_watched(document: Document, width: int) -> str:
    """Say how it ended; what there was to see was drawn as it came."""
    return f"Session {document['id'][:6]}: {document['ended']}."


@command(
    "watch",
    "See the screen of an engineer's session, live, until Ctrl-C.",
    render=render_watched,
    roles=ADMINISTRATORS,
    machines=_BASTION,
)
async def watch(call: Call, id_: Id) -> Document:
    """First the screen as it is, then what comes; what would act on your terminal is left out."""
    return await follow(call, "bastion", "watch", id_)


COMMANDS: tuple[Command, ...] = (tunnels, sessions, watch, terminate)
