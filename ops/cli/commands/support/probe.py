"""`techsupport probe`: which ports of the bastion can be reached from here, and what is in the way of the others.

Enables nothing. The tunnel client does it; it takes as long as its time-outs, so how long it has been is shown.
"""

import asyncio

from core.errors import GatepostError
from ops.cli.account import STAFF, Role
from ops.cli.commands.support.state import CLIENT, USABLE, attempts_table, ports_of
from ops.cli.display import folded, paint
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

_LONGEST_S = 120.0
_TICK_S = 0.5


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
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(_asked(call))
        waited = 0.0
        while not asked.done():
            await asyncio.wait([asked], timeout=_TICK_S)
            waited += _TICK_S
            call.progress(0, 0, f"{await _so_far(call)} roads tried in {waited:.0f} s; a silent one takes a while")
        call.progress(-1, 0, "")
    document = asked.result()
    if isinstance(document, GatepostError):
        raise document
    order = {port: place for place, port in enumerate(ports_of(call))}
    document["attempts"].sort(key=lambda one: order.get(one["port"], len(order)))
    return document


async def _asked(call: Call) -> Document | GatepostError:
    """Have the tunnel client probe; what it refuses with is a result, so that the task group does not wrap it."""
    try:
        return dict(await call.appliance.ask(CLIENT, "techsupport_probe", _LONGEST_S))
    except GatepostError as error:
        return error


async def _so_far(call: Call) -> int:
    """Count what the probe under way has found."""
    try:
        document = await call.appliance.ask(CLIENT, "techsupport_status")
    except GatepostError:
        return 0
    return len((document.get("last_probe") or {}).get("attempts") or [])
