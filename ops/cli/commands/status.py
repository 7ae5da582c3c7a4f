"""`status`: counters, rates and gauges of the whole machine, in the layout of the model appliances."""

from typing import Annotated, Literal

from ops.cli.argument import Help
from ops.cli.display import age, brief, folded, moment, number, reason
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.figures import COUNTER_ROWS, CURRENT_IDS, GAUGE_ROWS, RATE_ROWS, Row, amount, counter_rows
from ops.status import PERCENT, collect

REFUSING = 999
"""The grade of resource conservation at which mail is refused."""
MOST_HOSTS = 10
"""Names of suspended destinations on the page; the document has all."""


def render(document: Document, width: int) -> str:
    """Show the status page; the long form when the document says so."""
    detail = bool(document.get("detail"))
    now = float(document["as_of"])
    up, oldest = document.get("up_since_at"), document.get("oldest_message_at")
    head = [
        ("Status as of:", moment(now)),
        ("Up since:", f"{moment(up)} ({brief(now - up)})" if up else "unknown"),
        ("Last counter reset:", moment(document.get("counters_reset_at"))),
        ("System status:", str(document["state"])),
        ("Oldest Message:", age(now - oldest) if oldest else "No Messages"),
    ]
    lines = [f"{label:<30} {value}" for label, value in head]
    down = [(f"Daemon - {name}:", reason(state)) for name, state in document["daemons"].items() if state != "running"]
    lines += [folded(f"{label:<30} ", text, width) for label, text in [*down, *_orders(document)]]
    lines += ["", *_counters(document, width, detail)]
    if detail:
        lines += ["", *_rates(document)]
    return "\n".join([*lines, "", *_gauges(document, detail)])


def _orders(document: Document) -> list[tuple[str, str]]:
    """Say what somebody has taken out of service, and what is wrong."""
    closed = document.get("suspended") or {}
    rows = [("Receiving suspended for:", ", ".join(closed.get("listeners") or ()))]
    hosts = closed.get("hosts") or ()
    more = f" and {len(hosts) - MOST_HOSTS} more" if len(hosts) > MOST_HOSTS else ""
    rows.append(("Delivery suspended for:", ", ".join(hosts[:MOST_HOSTS]) + more))
    order = closed.get("work_queue")
    if order:
        why = order["reason"] or "no reason given"
        rows.append(("Work queue:", f"Paused by {order['paused_by']}: {why} (since {moment(order['paused_at'])})"))
    grade = (document.get("gauges") or {}).get("resource_conservation") or 0
    if grade:
        does = "no mail is taken" if grade >= REFUSING else f"answers wait {number(grade)} s"
        rows.append(("Resource conservation:", f"{does}; the mail log of the gateway says why"))
    rows += [("Trouble:", trouble) for trouble in document.get("troubles") or ()]
    return [row for row in rows if row[1]]


def _columns(width: int) -> int:
    return 16 if not width or width >= 77 else max(10, (width - 29) // 3)


def _counters(document: Document, width: int, detail: bool) -> list[str]:
    size = _columns(width)
    lines = [f"{'Counters:':<29}{'Reset':>{size}}{'Uptime':>{size}}{'Lifetime':>{size}}"]
    for row in counter_rows(detail):
        if not row.name:
            lines.append(f"  {row.label}")
            continue
        found = document["counters"].get(row.name, {})
        values = "".join(f"{number(found.get(reading)):>{size}}" for reading in ("reset", "uptime", "lifetime"))
        lines.append(f"    {row.label:<25}{values}")
    lines.append("  Current IDs")
    for name, label in CURRENT_IDS.items():
        if detail or name == "message_id":
            value = document["counters"].get(name, {}).get("lifetime", document["gauges"].get(name))
            lines.append(f"    {label:<25}{'':{2 * size}}{number(value):>{size}}")
    return lines


def _rates(document: Document) -> list[str]:
    lines = [f"{'Rates (Events Per Hour):':<29}{'1-Minute':>16}{'5-Minutes':>16}{'15-Minutes':>16}"]
    for row in RATE_ROWS:
        if not row.name:
            lines.append(f"  {row.label}")
            continue
        found = document["rates"].get(row.name, {})
        values = "".join(f"{number(found.get(window, 0)):>16}" for window in ("1m", "5m", "15m"))
        lines.append(f"    {row.label:<25}{values}")
    return lines


def _gauges(document: Document, detail: bool) -> list[str]:
    lines = [f"{'Gauges:':<29}{'Current':>16}"]
    for row in GAUGE_ROWS:
        if row.detail and not detail:
            continue
        lines.append(f"    {row.label:<25}{_gauge(document, row):>16}" if row.name else f"  {row.label}")
    return lines


def _gauge(document: Document, row: Row) -> str:
    value = amount(row.name, document["gauges"].get(row.name))
    return f"{number(value)}%" if row.name in PERCENT and value is not None else number(value)


def _complete(document: Document) -> None:
    """Give what has not been counted yet as 0, for whoever reads the document by names. Daemons that are down would
    have to be asked: without them what is not there is not known.
    """
    for block, rows, readings in (
        ("counters", COUNTER_ROWS, ("reset", "uptime", "lifetime")),
        ("rates", RATE_ROWS, ("1m", "5m", "15m")),
    ):
        for row in rows:
            if row.name:
                document[block].setdefault(row.name, dict.fromkeys(readings, 0))


@command("status", "Show the state of the system, its counters and gauges.", render=render, machines=MAIL_MACHINES)
async def status(
    call: Call,
    extent: Annotated[Literal["detail", ""], Help("all counters, rates and gauges")] = "",
) -> Document:
    """Figures are added up over all daemons; a daemon that does not answer is listed as down."""
    document = await collect(call.appliance)
    if set(document["daemons"].values()) == {"running"}:
        _complete(document)
    return {**document, "detail": True} if extent == "detail" else document


COMMANDS = (status,)
