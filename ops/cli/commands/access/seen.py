"""`who`, `whoami`, `last`: who is in, who one is, and who was in or tried to be."""

from typing import Annotated

from core.errors import EX_NOINPUT, GatepostError
from ops.access import store
from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.display import brief, stamp
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table


def render_who(document: Document, width: int) -> str:
    """Show one session a line."""
    heads = [Column(text, least=8) for text in ("Username", "Role", "Login Time", "Idle Time", "Remote Host", "What")]
    rows = [
        [
            str(item["user"]) + (f" ({item['identity']})" if item.get("identity") else ""),
            str(item["role"]),
            stamp(item["since_at"]),
            brief(item["idle_s"]),
            str(item["source"]),
            str(item["what"]),
        ]
        for item in document["sessions"]
    ]
    return table(heads, rows, width) if rows else "Nobody is logged in."


@command("who", "Show who is logged in.", render=render_who, roles=INSPECTORS)
async def who(call: Call) -> Document:
    """Sessions of the SSH console, support engineers among them."""
    return {"sessions": call.appliance.sessions()}


def render_whoami(document: Document, width: int) -> str:
    """Show name, role and source."""
    lines = [f"Username:  {document['user']}", f"Full Name: {document['identity'] or document['user']}"]
    lines += [f"Role:      {document['role']}", f"From:      {document['source']}"]
    return "\n".join(lines)


@command("whoami", "Show who you are.", render=render_whoami)
async def whoami(call: Call) -> Document:
    """Name, role, and where you come from."""
    caller = call.caller
    return {"user": caller.name, "identity": caller.identity, "role": str(caller.role), "source": caller.source}


def render_last(document: Document, width: int) -> str:
    """Show one log-in a line, the newest first."""
    heads = [Column("Username", least=8), Column("Remote Host", least=9), Column("Login Time"), Column("Ended")]
    heads += [Column("Total Time", right=True), Column("What"), Column("Way or reason", least=10)]
    rows = [_row(one) for one in document["logins"]]
    return table(heads, rows, width) if rows else "There is no log-in in the record."


def _row(one: Document) -> list[str]:
    began, ended, count = one["at"], one["ended_at"], one["count"]
    if one["good"]:
        over = stamp(ended) if ended else ("-" if one["reason"] else "still in")
        total = brief(ended - began) if ended else "-"
        way = one["way"]
    else:
        over, total = (stamp(ended) if ended else "-"), f"{count} x" if count > 1 else "-"
        way = f"failed: {one['reason']}"
    return [str(one["user"]), str(one["source"]), stamp(began), over, total, str(one["front"]), str(way)]


@command("last", "Show who logged in, and who failed to.", render=render_last, roles=INSPECTORS)
async def last(
    call: Call,
    limit: Annotated[int, Help("how many, the newest first", "N", least=1, most=2 * store.KEPT)] = 50,
    *,
    user: Annotated[str, Help("of this user only", "NAME")] = "",
    failed: Annotated[bool, Help("failures only")] = False,
    good: Annotated[bool, Help("log-ins only")] = False,
) -> Document:
    """The record is kept over restarts: 2,000 log-ins and as many failures.

    Failures of the same kind within ten minutes are one line with a count.
    """
    if call.appliance.records is None:
        raise GatepostError("this machine keeps no record of log-ins", EX_NOINPUT)
    wanted = None if failed == good else good
    return {"logins": await call.appliance.records.look(store.history, limit, good=wanted, name=user)}


COMMANDS = (who, whoami, last)
