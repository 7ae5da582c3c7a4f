"""`listenerconfig list`: the listeners of the pending configuration, and what the gateway says of those in force."""

from collections.abc import Mapping
from typing import Any

from ops.cli.appliance import Answer
from ops.cli.commands.listener.place import address_of, interface_at, kind_of, line_of, listeners_of
from ops.cli.editing.table import Rights
from ops.cli.registry import Call, Command, Document

SETTLED = "listening"


def listed(rights: Rights) -> Command:
    """Make the command."""
    return Command(
        "listenerconfig list",
        "List the listeners with their states.",
        run,
        (),
        render,
        roles=rights.readers,
        machines=rights.machines,
        details="`state`: listening, suspended, waiting (its port is taken), not in force (until commit), or unknown "
        "where no gateway runs. The hidden listener of the central quarantine is not among them.",
    )


async def run(call: Call) -> Document:
    """Give every listener of the pending copy."""
    tables = call.editing.tables()
    answers = await call.appliance.ask_each(["gateway"], "listeners")
    return {
        "listeners": [
            {
                "name": row["name"],
                "kind": kind_of(row),
                "interface": interface_at(tables, address_of(row)),
                "address": address_of(row),
                "port": row.get("port", 25),
                **_state(row, answers),
                "line": line_of(tables, row),
            }
            for row in listeners_of(tables)
        ],
        "pending": call.editing.pending,
    }


def _state(row: Mapping[str, Any], answers: list[Answer]) -> Document:
    """Put together what the processes say of a listener."""
    reached = [answer.document["listeners"] for answer in answers if answer.error is None]
    if not reached:
        return {"state": "unknown", "connections": 0}
    found = [one for rows in reached for one in rows if one["name"] == row["name"]]
    here = [one for one in found if (one["address"], one["port"]) == (address_of(row), row.get("port", 25))]
    states = {one["state"] for one in here}
    connections = sum(int(one["connections"]) for one in found)
    if not here:
        return {"state": "not in force", "connections": connections}
    return {"state": SETTLED if states == {SETTLED} else min(states - {SETTLED}), "connections": connections}


def render(document: Document, width: int) -> str:
    """Show the lines of the model, with the state where it is not the usual one."""
    if not document["listeners"]:
        return "No listeners are configured."
    lines = ["Currently configured listeners:"]
    for place, row in enumerate(document["listeners"], 1):
        state = "" if row["state"] == SETTLED else f" ({row['state']})"
        lines.append(f"{place}. {row['line']}{state}")
    return "\n".join(lines)
