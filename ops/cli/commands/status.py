"""`status`: counters, rates and gauges of the whole machine, merged from its daemons.

Layout and names: the status page of the model appliances. A daemon that does not answer is named; the figures of
the others are still shown.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from core.errors import EX_UNAVAILABLE, EX_USAGE, GatepostError
from ops.cli.appliance import Answer
from ops.cli.argument import Help
from ops.cli.commands.figures import CURRENT_IDS, GAUGE_ROWS, RATE_ROWS, Row, counter_rows
from ops.cli.display import age, brief, moment, number
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

_PERCENT = {"ram_utilization", "total_utilization", "cpu_utilization", "disk_utilization", "log_used"}
_ONE_FOR_ALL = _PERCENT | {"resource_conservation", "kbytes_free", "log_available", *CURRENT_IDS}
_RECEIVING = ("gateway", "cpq-listener")
_DELIVERY = ("delivery-queue",)
_OLDEST = ("up_since_at", "oldest_message_at")


def _pick(name: str) -> Callable[[float, float], float]:
    return max if name in _ONE_FOR_ALL else (lambda a, b: a + b)


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add up what several daemons count; of percentages and ids the highest counts."""
    for name, value in more.items():
        if isinstance(value, Mapping):
            readings = into.setdefault(name, {})
            for reading, amount in value.items():
                readings[reading] = _pick(name)(readings[reading], amount) if reading in readings else amount
        elif name in into and isinstance(value, int | float) and not isinstance(value, bool):
            into[name] = _pick(name)(into[name], value)
        else:
            into.setdefault(name, value)


def _suspended(answers: Sequence[Answer], daemons: Sequence[str], word: str) -> bool:
    """Tell whether none of these daemons works: suspended, or not there at all."""
    states = [
        str((answer.document or {}).get("state", "")) if answer.document is not None else "Offline"
        for answer in answers
        if answer.daemon.rsplit("-", 1)[0] in daemons or answer.daemon in daemons
    ]
    return bool(states) and all(state.lower() in {word.lower(), "offline", "suspended"} for state in states)


def system_state(answers: Sequence[Answer]) -> str:
    """Give the state of the machine: Online, Receiving suspended, Delivery suspended or Offline."""
    receiving = _suspended(answers, _RECEIVING, "Receiving suspended")
    delivery = _suspended(answers, _DELIVERY, "Delivery suspended")
    if receiving and delivery:
        return "Offline"
    return "Receiving suspended" if receiving else "Delivery suspended" if delivery else "Online"


def merge(answers: Sequence[Answer], now: float) -> Document:
    """Make the document of `status` from the answers of the daemons."""
    document: Document = {
        "state": system_state(answers),
        "as_of": now,
        "counters": {},
        "rates": {},
        "gauges": {},
        "daemons": {
            answer.daemon: "running" if answer.error is None else f"down: {answer.error.text}" for answer in answers
        },
    }
    for answer in answers:
        facts = answer.document or {}
        for block in ("counters", "rates", "gauges"):
            _merge(document[block], facts.get(block) or {})
        if "connections" in facts:
            _merge(document["gauges"], {"conn_in": facts["connections"]})
        for name in _OLDEST:
            if facts.get(name):
                document[name] = min(facts[name], document.get(name, facts[name]))
        if facts.get("counters_reset_at"):
            document["counters_reset_at"] = max(facts["counters_reset_at"], document.get("counters_reset_at", 0.0))
    return document


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
    lines += [f"{f'Daemon - {name}:':<30} {state}" for name, state in document["daemons"].items() if state != "running"]
    lines += ["", *_counters(document, width, detail)]
    if detail:
        lines += ["", *_rates(document)]
    return "\n".join([*lines, "", *_gauges(document, detail)])


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
        values = "".join(f"{number(found.get(reading, 0)):>{size}}" for reading in ("reset", "uptime", "lifetime"))
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
    value = document["gauges"].get(row.name)
    return f"{number(value)}%" if row.name in _PERCENT and value is not None else number(value)


@command("status", "Show the state of the system, its counters and gauges.", render=render, machines=MAIL_MACHINES)
async def status(
    call: Call,
    extent: Annotated[Literal["detail", ""], Help("all counters, rates and gauges")] = "",
) -> Document:
    """Figures are added up over all daemons; a daemon that does not answer is listed as down."""
    daemons = (*_RECEIVING, *_DELIVERY, *(("release-host",) if call.appliance.has("release-host") else ()))
    answers = [
        # A daemon that keeps no figures answers so; it runs all the same.
        Answer(answer.daemon, {}) if answer.error and answer.error.status == EX_USAGE else answer
        for answer in await call.appliance.ask_each(daemons, "status")
    ]
    if answers and all(answer.error for answer in answers):
        names = ", ".join(answer.daemon for answer in answers)
        raise GatepostError(
            f"no daemon answers ({names}); start them with `gatepost run DAEMON --config FILE`", EX_UNAVAILABLE
        )
    document = merge(answers, call.appliance.now())
    return {**document, "detail": True} if extent == "detail" else document


COMMANDS = (status,)
