"""`rate`, `hostrate`, `topin`, `dnsstatus`: what goes on now.

`rate` and `hostrate` show a row at every interval until they are broken off or the rows asked for are there; a
document holds the rows. Columns: behaviour 2.4 and 2.29.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from core.errors import EX_UNAVAILABLE, GatepostError
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import moment, number
from ops.cli.registry import MACHINES, MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table
from ops.health import Place, ready
from ops.status import collect

_MOST_ROWS = 100_000
_AGAIN = 20
"""Rows between repetitions of the header."""

Seconds = Annotated[float, Help("seconds between rows", "SECONDS", least=0.1, most=3600)]
Count = Annotated[int, Help("rows to show; 0 = until Ctrl-C (with --json: 1)", "N", least=0, most=_MOST_ROWS)]

_RATE = (
    ("Time", "time"),
    ("Connections\nIn", "conn_in"),
    ("Connections\nOut", "conn_out"),
    ("Recipients\nReceived", "inj_recips"),
    ("\nDelta", "inj_recips_delta"),
    ("Recipients\nCompleted", "completed_recips"),
    ("\nDelta", "completed_recips_delta"),
    ("Queue\nK-Used", "kbytes_used"),
)
_HOSTRATE = (
    ("Time", "time"),
    ("Host\nStatus", "state"),
    ("CrtCncOut", "conn_out"),
    ("ActvRcp", "active_recips"),
    ("ActvRcp\nDelta", "active_recips_delta"),
    ("DlvRcp\nDelta", "delivered_recips_delta"),
    ("HrdBncRcp\nDelta", "hard_bounced_recips_delta"),
    ("SftBncEvt\nDelta", "soft_bounced_evts_delta"),
)


def _lines(columns: Sequence[tuple[str, str]], row: Document | None) -> str:
    """Lay out one row, or without one the header; the same widths every time, since rows come one by one."""
    if row is None:
        titles = [title.split("\n") for title, _ in columns]
        heads = [[""] * (2 - len(title)) + title for title in titles]
        return "\n".join(_spread(columns, [head[line] for head in heads]) for line in (0, 1))
    cells = [time.strftime("%H:%M:%S", time.localtime(row["at"]))]
    return _spread(columns, [*cells, *(number(row.get(name)) for _, name in columns[1:])])


def _spread(columns: Sequence[tuple[str, str]], cells: Sequence[str]) -> str:
    """Give one line of 80 columns or less, more if a number has outgrown its column."""
    widths = [max(7, *(len(part) + 1 for part in title.split("\n"))) for title, _ in columns]
    widths[-1] = max(widths[-1], 12)
    rest = zip(widths[1:], cells[1:], strict=True)
    return (f"{cells[0]:<8}" + "".join(f" {cell:>{width - 1}}" for width, cell in rest)).rstrip()


async def _repeat(
    call: Call, columns: Sequence[tuple[str, str]], seconds: float, count: int, look: Callable[[], Awaitable[Document]]
) -> Document:
    """Look, show, wait; `*_delta` of a row is the difference to the row before, in the first one 0."""
    rows: list[Document] = []
    before: Document = {}
    wanted = count or (_MOST_ROWS if call.watched else 1)
    for turn in range(wanted):
        if turn:
            await asyncio.sleep(seconds)
        elif not count and call.watched:
            call.show("Type Ctrl-C to return to the main prompt.\n")
        row = await look()
        row["at"] = call.appliance.now()
        row |= {name: row[name[:-6]] - before.get(name[:-6], row[name[:-6]]) for name in _deltas(columns)}
        if turn % _AGAIN == 0:
            call.show(_lines(columns, None))
        call.show(_lines(columns, row))
        before = row
        if not call.watched:
            rows.append(row)
    return {"rows": rows}


def _deltas(columns: Sequence[tuple[str, str]]) -> list[str]:
    return [name for _, name in columns if name.endswith("_delta")]


def _nothing_more(document: Document, width: int) -> str:
    """Show nothing: the rows were shown as they came."""
    return ""


async def _ask_seconds(call: Call, dialogue: Dialogue) -> Document | None:
    return {"seconds": await dialogue.number("Enter the number of seconds between displays.", 10, 3600) or 1}


@command("rate", "Watch the flow of recipients.", render=_nothing_more, dialogue=_ask_seconds, machines=MAIL_MACHINES)
async def rate(call: Call, seconds: Seconds = 10.0, *, count: Count = 0) -> Document:
    """A row at every interval: connections, recipients received and completed, room taken by the queue."""

    async def look() -> Document:
        document = await collect(call.appliance)
        counters, gauges = document["counters"], document["gauges"]
        row: Document = {name: gauges.get(name, 0) for name in ("conn_in", "conn_out", "kbytes_used")}
        return row | {name: counters.get(name, {}).get("uptime", 0) for name in ("inj_recips", "completed_recips")}

    return await _repeat(call, _RATE, seconds, count, look)


async def _ask_host(call: Call, dialogue: Dialogue) -> Document | None:
    host = await dialogue.ask("Recipient host:")
    seconds = await _ask_seconds(call, dialogue) if host else None
    return seconds and {"host": host, **seconds}


@command("hostrate", "Watch one destination.", render=_nothing_more, dialogue=_ask_host, machines=MAIL_MACHINES)
async def hostrate(
    call: Call, host: Annotated[str, Help("recipient domain")], seconds: Seconds = 10.0, *, count: Count = 0
) -> Document:
    """A row at every interval: state, connections, and what changed since the row before."""

    async def look() -> Document:
        found = await call.appliance.ask("delivery-queue", "hoststatus", host=host.lower())
        counters, gauges = found["counters"], found["gauges"]
        row: Document = {"state": found["state"], "conn_out": gauges["conn_out"]}
        row["active_recips"] = gauges["active_recips"]
        return row | {
            name: _reading(counters.get(name, 0))
            for name in ("delivered_recips", "hard_bounced_recips", "soft_bounced_evts")
        }

    return await _repeat(call, _HOSTRATE, seconds, count, look)


def _reading(value: Any) -> int:
    return int(value.get("uptime", 0) if isinstance(value, dict) else value)


def _render_topin(document: Document, width: int) -> str:
    heads = [
        Column(" #"),
        Column("Remote hostname", least=16),
        Column("Remote IP addr."),
        Column("listener"),
        Column("Conn. In", right=True),
    ]
    rows = [
        [f"{rank:>2}", one["host"] or one["address"], one["address"], one["listener"], number(one["connections"])]
        for rank, one in enumerate(document["hosts"], 1)
    ]
    body = table(heads, rows, width) if rows else "No host is connected."
    return f"Status as of:  {moment(document['as_of'])}\n\n{body}"


@command(
    "topin", "Show the hosts with the most inbound connections.", render=_render_topin, machines=frozenset({"esa"})
)
async def topin(call: Call, *, limit: Annotated[int, Help("rows to show", "N", least=1, most=10_000)] = 20) -> Document:
    """One row for each address and listener; the name only where forward and reverse lookup agree."""
    found: dict[tuple[str, str], Document] = {}
    answers = await call.appliance.ask_each(["gateway"], "topin")
    if answers and all(answer.error for answer in answers):
        raise GatepostError(answers[0].error.text if answers[0].error else "no gateway answers", EX_UNAVAILABLE)
    for answer in answers:
        for one in (answer.document or {}).get("hosts", ()):
            known = found.setdefault((one["address"], one["listener"]), {**one, "connections": 0})
            known["connections"] += one["connections"]
            known["host"] = known["host"] or one["host"]
    ranked = sorted(found.values(), key=lambda one: (-one["connections"], one["address"]))
    return {"as_of": call.appliance.now(), "hosts": ranked[:limit]}


_DNS = (
    ("DNS Requests", "dns_requests"),
    ("Network Requests", "net_requests"),
    ("Cache Hits", "cache_hits"),
    ("Cache Misses", "cache_misses"),
    ("Cache Exceptions", "cache_exceptions"),
    ("Cache Expired", "cache_expired"),
)


def _render_dns(document: Document, width: int) -> str:
    heads = [Column("Counters:"), *(Column(title, right=True) for title in ("Reset", "Uptime", "Lifetime"))]
    rows = [
        [f"  {label}", *(number(document["counters"][name][reading]) for reading in ("reset", "uptime", "lifetime"))]
        for label, name in _DNS
    ]
    return f"Status as of:  {moment(document['as_of'])}\n\n{table(heads, rows, width, gap=4)}"


@command("dnsstatus", "Show how the domain name system is used.", render=_render_dns, machines=MAIL_MACHINES)
async def dnsstatus(call: Call) -> Document:
    """Lookups of all daemons together."""
    document = await collect(call.appliance)
    nothing = {"reset": 0, "uptime": 0, "lifetime": 0}
    counters = {name: document["counters"].get(name, nothing) for _, name in _DNS}
    return {"as_of": document["as_of"], "counters": counters}


def _render_metrics(document: Document, width: int) -> str:
    return str(document["text"])


@command(
    "metrics",
    "Print the figures of all daemons for Prometheus.",
    render=_render_metrics,
    machines=MACHINES,
    multiline=("text",),
)
async def metrics(call: Call) -> Document:
    """The same text as /metrics of the web side."""
    from ops.metrics import metrics_of  # prometheus_client, which brings an HTTP server of its own

    appliance = call.appliance
    identity = {"appliance": {"role": appliance.role, "hostname": appliance.hostname}}
    place = Place.of({**appliance.configuration(), **identity}, appliance.dir)
    return {"text": (await metrics_of(appliance, place, await ready(place))).decode()}


COMMANDS = (rate, hostrate, topin, dnsstatus, metrics)
