"""`techsupport probe`: which ports of the bastion can be reached from here, and what is in the way of the others.

Enables nothing. The tunnel client does it; it takes as long as its time-outs, so how long it has been is shown.
"""

from ops.cli.account import STAFF, Role
from ops.cli.commands.support.patience import asked
from ops.cli.commands.support.state import USABLE, attempts_table, ports_of
from ops.cli.display import folded, paint
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

_LONGEST_S = 120.0


def render_probe(document: Document, width: int) -> str:
    """Show the table of ports, and the one to take."""
    attempts, host = document["attempts"], document["host"]
    problem = document.get("problem")
    if not attempts:
        return paint(f"{host}: {problem or 'no address of it is known'}", "bad", width)
    good = [one for one in attempts if one["verdict"] in USABLE]
    if good:
        advice = f"Port {good[0]['port']} works: techsupport tunnel --port {good[0]['port']}"
    else:
        advice = "No port leads to the bastion; show this table to whoever runs the firewall."
    shown = paint(advice, "good" if good else "bad", width)
    if problem:
        shown = f"{folded('Problem: ', str(problem), width or 80)}\n{shown}"
    return f"Ports of {host}, tried from here:\n{attempts_table(attempts, width)}\n\n{shown}"


@command(
    "techsupport probe",
    "Try the ports of the bastion without enabling anything.",
    render=render_probe,
    roles=STAFF | {Role.SUPPORT},
    machines=MAIL_MACHINES,
)
async def probe(call: Call) -> Document:
    """Gives for each address and port how far a connection came, how long it took, and what helps."""
    document = await asked(call, "techsupport_probe", _LONGEST_S, _so_far)
    order = {port: place for place, port in enumerate(ports_of(call))}
    document["attempts"].sort(key=lambda one: order.get(one["port"], len(order)))
    return document


def _so_far(status: Document) -> str:
    """Count what the probe under way has found."""
    tried = len((status.get("last_probe") or {}).get("attempts") or [])
    return f"{tried} roads tried, and a silent one takes a while"
