"""`tlsverify` and `tlsreport`: outbound TLS as delivery does it, and what became of it."""

from typing import Annotated

from core.errors import EX_DATAERR, GatepostError
from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import fitted, number
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table


def render_tlsverify(document: Document, width: int) -> str:
    """Show each step, in the words of the model."""
    lines = [f"{document['domain']}: level {document['level']}, MX {_mx(document)}"]
    policy = document.get("mta_sts")
    if policy and policy.get("mode"):
        lines.append(f"MTA-STS policy: mode {policy['mode']}, mx {', '.join(policy['mx'])}")
    elif policy:
        lines.append(f"MTA-STS policy: not to be had: {policy['problem']}")
    return fitted("\n".join([*lines, "", *document["lines"]]), width)


def _mx(document: Document) -> str:
    shown = ", ".join(f"{one['preference']} {one['host']}" for one in document["mx"])
    return "not asked, a route decides" if document["route"] else shown or "none, the domain itself"


async def _ask_domain(call: Call, dialogue: Dialogue) -> Document | None:
    domain = await dialogue.ask("Enter the TLS domain to verify against:")
    if not domain:
        return None
    host = await dialogue.ask("Enter the destination host to connect to. Append the port if it is not 25:", domain)
    return {"domain": domain, "host": host}


@command(
    "tlsverify",
    "Try TLS with the hosts of a domain as delivery would.",
    render=render_tlsverify,
    dialogue=_ask_domain,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def tlsverify(
    call: Call,
    domain: Annotated[str, Help("recipient domain")],
    host: Annotated[str, Help("only this one of its hosts, with :port if not 25")] = "",
) -> Document:
    """Resolver, policies and connection are those of delivery; nothing is sent."""
    if any(c.isspace() or c in "@/" for c in domain) or not domain.strip("."):
        raise GatepostError(f"{domain!r} is not a valid domain; give the domain of recipients", EX_DATAERR)
    document: Document = await call.appliance.ask("delivery-queue", "tlsverify", domain=domain, host=host)
    return document


def render_tlsreport(document: Document, width: int) -> str:
    """Show sessions by day, domain and policy, with the ways in which they failed."""
    heads = [Column("Day"), Column("Domain", least=16), Column("Policy"), Column("Good", right=True)]
    heads += [Column("Failed", right=True), Column("How", least=20)]
    rows = []
    for one in document["sessions"]:
        how = ", ".join(f"{failure['count']} {failure['result']}" for failure in one["failures"][:3])
        first = [one["day"], one["domain"], one["policy"], number(one["successful"]), number(one["failed"]), how]
        rows.append(first)
    state = "Daily reports are sent." if document["sending"] else "Daily reports are not sent ([tls_report] enabled)."
    shown = table(heads, rows, width) if rows else "No sessions were counted."
    return "\n".join([state, shown, *(f"written: {file}" for file in document["files"])])


@command(
    "tlsreport",
    "Show what became of TLS with other hosts.",
    render=render_tlsreport,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def tlsreport(
    call: Call,
    domain: Annotated[str, Help("only this recipient domain")] = "",
    *,
    day: Annotated[str, Help("only this day, such as 2026-11-22")] = "",
    write: Annotated[bool, Help("write the reports to files as well")] = False,
) -> Document:
    """Counted for TLS reports (RFC 8460), kept for two weeks."""
    document: Document = await call.appliance.ask("delivery-queue", "tlsreport", domain=domain, day=day, write=write)
    return document


COMMANDS = (tlsverify, tlsreport)
