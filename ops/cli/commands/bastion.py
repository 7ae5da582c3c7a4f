"""`tunnels` and `sessions`: which appliances a bastion can reach, and which engineers are on them.

Asks the bastion daemon. Neither ends anything: a tunnel belongs to its appliance's administrator, a session ends
with its certificate.
"""

from ops.cli.account import INSPECTORS
from ops.cli.display import stamp
from ops.cli.registry import Call, Command, Document, command
from ops.cli.table import Column, table

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
    return table(heads, rows, width)


@command("tunnels", "Show which appliances are connected.", render=render_tunnels, roles=INSPECTORS, machines=_BASTION)
async def tunnels(call: Call) -> Document:
    """`online` is an appliance whose console has answered through the tunnel, `silent` one that is only connected."""
    return dict(await call.appliance.ask("bastion", "tunnels"))


def render_sessions(document: Document, width: int) -> str:
    """Show one engineer's session a line."""
    heads = [
        Column("Engineer"),
        Column("Case"),
        Column("Appliance"),
        Column("Since"),
        Column("From"),
        Column("Mode"),
        Column("What", least=10),
    ]
    keys = ("engineer", "case", "serial")
    rows = [
        [
            *(str(one[key]) for key in keys),
            stamp(one["since"]),
            str(one["source"]),
            str(one["mode"]),
            str(one["command"] or _CONSOLE),
        ]
        for one in document["sessions"]
    ]
    return table(heads, rows, width) if rows else "No engineer is on an appliance."


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


COMMANDS: tuple[Command, ...] = (tunnels, sessions)
