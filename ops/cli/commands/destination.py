"""`tophosts` and `hoststatus`: the destinations of the delivery queue.

Layouts of the model appliances. Figures count since the counters were last reset.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from core.errors import EX_DATAERR, GatepostError
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import age, brief, folded, moment, number, reason
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table

_TOP = 20
_SORT_KEYS = {
    "active_rcpts": ("Active Recipients", "active_recipients"),
    "conn_out": ("Connections Out", "connections_out"),
    "deliv_recip": ("Delivered Recipients", "delivered_recipients"),
    "soft_bounces": ("Soft Bounced Events", "soft_bounced"),
    "hard_bounces": ("Hard Bounced Recipients", "hard_bounced"),
}
SortKey = Literal["active_rcpts", "conn_out", "deliv_recip", "soft_bounces", "hard_bounces"]


def render_tophosts(document: Document, width: int) -> str:
    """Show the ranking; a star after the rank marks a host that was down."""
    heads = [
        Column(" #"),
        Column("Recipient Host", least=16),
        Column("Active\nRecip.", right=True),
        Column("Conn.\nOut", right=True),
        Column("Deliv.\nRecip.", right=True),
        Column("Soft\nBounced", right=True),
        Column("Hard\nBounced", right=True),
    ]
    rows = [
        [
            f"{rank:>2}{'*' if host.get('state') == 'down' else ''}",
            str(host["host"]),
            *(number(host.get(field)) for _, field in _SORT_KEYS.values()),
        ]
        for rank, host in enumerate(document["hosts"], 1)
    ]
    notice = "Hosts marked with '*' were down as of the last delivery attempt."
    return f"Status as of:  {moment(document.get('as_of'))}\n{notice}\n\n{table(heads, rows, width)}"


async def _ask_sort(call: Call, dialogue: Dialogue) -> Document | None:
    place = await dialogue.choose("Sort results by:", [label for label, _ in _SORT_KEYS.values()])
    return {"sort": list(_SORT_KEYS)[place]}


@command(
    "tophosts",
    "Show the top 20 destinations of the queue.",
    render=render_tophosts,
    dialogue=_ask_sort,
    machines=MAIL_MACHINES,
)
async def tophosts(
    call: Call, sort: Annotated[SortKey, Help("what to rank destinations by")] = "active_rcpts"
) -> Document:
    """The internal destinations of the central quarantine are listed too."""
    field = _SORT_KEYS[sort][1]
    document: Document = await call.appliance.ask("delivery-queue", "tophosts", sort=field, limit=_TOP)
    ranked = sorted(document["hosts"], key=lambda host: -(host.get(field) or 0))
    return {"as_of": call.appliance.now(), **document, "hosts": ranked[:_TOP]}


_HOST_COUNTERS = (
    (1, "Queue", ""),
    (2, "Soft Bounced Events", "soft_bounced_evts"),
    (1, "Completion", ""),
    (2, "Completed Recipients", "completed_recips"),
    (3, "Hard Bounced Recipients", "hard_bounced_recips"),
    (4, "DNS Hard Bounces", "dns_hard_bounced_recips"),
    (4, "5XX Hard Bounces", "5xx_hard_bounced_recips"),
    (4, "Filter Hard Bounces", "filter_hard_bounced_recips"),
    (4, "Expired Hard Bounces", "expired_hard_bounced_recips"),
    (4, "Other Hard Bounces", "other_hard_bounced_recips"),
    (3, "Delivered Recipients", "delivered_recips"),
    (3, "Deleted Recipients", "deleted_recips"),
)
_HOST_GAUGES = (
    (1, "Queue", ""),
    (2, "Active Recipients", "active_recips"),
    (3, "Unattempted Recipients", "unattempted_recips"),
    (3, "Attempted Recipients", "attempted_recips"),
    (1, "Connections", ""),
    (2, "Current Outbound Connections", "conn_out"),
    (2, "Pending Outbound Connections", "pending_conn_out"),
)


def _block(rows: tuple[tuple[int, str, str], ...], values: Mapping[str, Any]) -> list[str]:
    return [
        f"{'  ' * depth}{label:<{36 - 2 * depth}}{number(_reading(values.get(name, 0))):>10}"
        if name
        else f"{'  ' * depth}{label}"
        for depth, label, name in rows
    ]


def _reading(value: Any) -> Any:
    return value.get("reset", 0) if isinstance(value, Mapping) else value


def render_hoststatus(document: Document, width: int) -> str:
    """Show counters, gauges, cached addresses and the last errors of one destination."""
    now = document.get("as_of")
    lines = [
        f"Host mail status for: '{document['host']}'",
        f"Status as of:         {moment(now)}",
        f"Host up/down:         {document.get('state') or 'unknown'}",
    ]
    if document.get("limiting_rule"):
        lines.append(folded("Limited by:           ", reason(document["limiting_rule"]), width))
    lines += ["", "Counters:", *_block(_HOST_COUNTERS, document.get("counters") or {})]
    lines += ["", "Gauges:", *_block(_HOST_GAUGES, document.get("gauges") or {}), ""]
    oldest = document.get("oldest_message_at")
    lines.append(f"{'Oldest Message':<22}{age(now - oldest) if oldest and now else 'No Messages'}")
    lines.append(f"{'Last Activity':<22}{moment(document.get('last_activity_at'))}")
    lines += ["", *_addresses(document), *_mx(document), *_errors(document, width), *_gateways(document, width)]
    return "\n".join(lines)


def _addresses(document: Document) -> list[str]:
    expires = document.get("addresses_expire_at")
    lines = ["Ordered IP addresses:" + (f" (expiring at {moment(expires)})" if expires else "")]
    found = document.get("addresses") or []
    if not found:
        return [*lines, "    none looked up yet"]
    rows = []
    for item in found:
        if isinstance(item, Mapping):
            preference, ips = item.get("preference", 0), item.get("addresses") or [item.get("address", "")]
            rows.append(f"    {preference!s:<12} {' '.join(str(ip) for ip in ips)}")
        else:
            rows.append(f"    {'-':<12} {item}")
    # Each virtual gateway has a state for an address; the address itself is told once.
    return [*lines, f"    {'Preference':<12} IPs", *dict.fromkeys(rows)]


def _mx(document: Document) -> list[str]:
    found = document.get("mx") or []
    if not found:
        return []
    lines = ["MX Records:", f"    {'Preference':<12} {'TTL':<12} Hostname"]
    for item in found:
        if isinstance(item, Mapping):
            ttl = item.get("ttl_s")
            shown = "-" if ttl is None else brief(ttl).replace(" ", "")
            lines.append(f"    {item.get('preference', 0)!s:<12} {shown:<12} {item.get('host', '')}")
        else:
            lines.append(f"    {'-':<12} {'-':<12} {item}")
    return lines


def _errors(document: Document, width: int) -> list[str]:
    lines = []
    last = document.get("last_5xx")
    if last:
        rule = "    ----------"
        if isinstance(last, Mapping):
            where = f"    (at {moment(last.get('at'))}) IP: {last.get('ip', 'unknown')}"
            lines += ["    Last 5XX Error:", rule, folded("    ", str(last.get("text", "")), width), where, rule]
        else:
            lines += ["    Last 5XX Error:", rule, folded("    ", str(last), width), rule]
    tls = document.get("last_tls_error")
    if tls:
        text = tls.get("text", "") if isinstance(tls, Mapping) else tls
        lines.append(folded("    Last TLS Error: ", reason(text), width))
    return lines


def _gateways(document: Document, width: int) -> list[str]:
    """Show what differs by virtual gateway, if there is more than the default one."""
    appliances = document.get("appliances") or []
    found = appliances or document.get("virtual_gateways") or []
    if [one["name"] for one in found] in ([], ["default"], [""]):
        return []
    rule = "=" * 60
    lines = ["", "Appliances:" if appliances else "Virtual gateway information:"]
    for one in found:
        lines += [
            rule,
            f"{one['name']}:",
            f"    Host up/down:  {one['state']}",
            f"    Last Activity  {moment(one.get('last_activity_at'))}",
            f"    Recipients     {one['active_recipients']}",
        ]
        if one.get("limiting_rule"):
            lines.append(folded("    Limited by     ", reason(one["limiting_rule"]), width))
    return [*lines, rule]


async def _ask_host(call: Call, dialogue: Dialogue) -> Document | None:
    host = await dialogue.ask("Recipient host:")
    return {"host": host} if host else None


@command(
    "hoststatus",
    "Show what is known of one destination host.",
    render=render_hoststatus,
    dialogue=_ask_host,
    machines=MAIL_MACHINES,
)
async def hoststatus(call: Call, host: Annotated[str, Help("recipient domain")]) -> Document:
    """Counters are since the last reset; cached DNS data and the last errors are shown as they are."""
    name = host.strip().rstrip(".").lower()
    if not name or any(c.isspace() or c in "@/" for c in name):
        raise GatepostError(f"{host!r} is not a valid host; give the domain of recipients", EX_DATAERR)
    document: Document = await call.appliance.ask("delivery-queue", "hoststatus", host=name)
    return {"as_of": call.appliance.now(), **document}


COMMANDS = (tophosts, hoststatus)
