"""`techsupport status`: whether support may come in, how the tunnel is, who is in and who waits.

The tunnel client knows the access and the tunnel, the console knows the people. Also the shape of the document that
every command of `techsupport` gives, and the words about ports that were tried, which `probe` shows as well.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any

from core.errors import EX_UNAVAILABLE, EX_USAGE, GatepostError
from ops.cli.account import STAFF, Role
from ops.cli.display import folded, moment, paint, stamp
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table

_PORTS = (22, 25, 53, 80, 443, 4766)
_DEFAULT_PORT = 25
CLIENT = "tunnel-client"
CONSOLE = "console"
FIELDS = ("mode", "tunnel", "port", "since", "until", "seed_fingerprint")
USABLE = frozenset({"ours", "late"})
"""The verdicts on a port that leads to the bastion."""
_OFF = frozenset({"", "disabled", "off", "none"})
_NO_TUNNEL = frozenset({"disabled", "not active"})


def ports_of(call: Call) -> tuple[int, ...]:
    """Give the configured ports of the bastion, the one that is tried first in front."""
    section = call.appliance.configuration().get("tunnel") or {}
    first, others = int(section.get("port") or _DEFAULT_PORT), section.get("ports") or _PORTS
    return tuple(dict.fromkeys([first, *(int(port) for port in others)]))


def enabled(document: Document) -> bool:
    """Tell whether support may come in at all."""
    return str(document.get("mode") or "").lower() not in _OFF


async def completed(call: Call, document: Document) -> Document:
    """Give the stable fields, whatever the tunnel client left out, and the people as the console knows them."""
    people = await _people(call, document)
    return {**dict.fromkeys(FIELDS), "waiting": [], **document, **people, "serial": call.appliance.serial}


async def _people(call: Call, document: Document) -> Document:
    try:
        found = await call.appliance.ask(CONSOLE, "service_sessions")
    except GatepostError as error:
        if error.status not in (EX_UNAVAILABLE, EX_USAGE):
            raise
        return {"sessions": _known_here(call) or document.get("sessions") or []}
    return {"sessions": found["sessions"], "waiting": found["waiting"]}


def _known_here(call: Call) -> list[Document]:
    return [
        {"engineer": one["identity"], "from": one["source"], "since": one["since_at"]}
        for one in call.appliance.sessions()
        if one["role"] == Role.SUPPORT
    ]


def render_status(document: Document, width: int) -> str:
    """Show whether access is enabled, how the tunnel is, who is in, and which ports were tried."""
    serial = f"Serial Number: {document['serial']}"
    if not enabled(document):
        return f"Service Access currently disabled.\n{serial}"
    count = len(document["sessions"])
    logins = f"({count} current service login{'' if count == 1 else 's'})"
    lines = [
        f"Service Access currently {paint('ENABLED', 'notice', width)} {logins}",
        tunnel_line(document, width),
        *_terms(document),
        serial,
    ]
    if document.get("problem") and document.get("tunnel") != "open":
        lines.append(folded("Last problem: ", document["problem"], width or 80))
    return "\n".join([*lines, *_visits(document, width), *_tried(document, width)])


def tunnel_line(document: Document, width: int = 0) -> str:
    """Say how the tunnel is."""
    state, port = str(document.get("tunnel") or "not active"), document.get("port")
    if state in _NO_TUNNEL or document.get("mode") == "sshaccess":
        return "Tunnel option is not active."
    shown = paint(state, "good" if state == "open" else "bad", width)
    return f"Tunnel option is active: {shown}" + (f", port {port}." if port else ".")


def _terms(document: Document) -> list[str]:
    """Say since when and until when, with which seed, and what more was allowed."""
    hops = document.get("hops") or []
    lines = [f"Enabled since: {when(document.get('since'))}"] if document.get("since") else []
    if document.get("until"):
        lines.append(f"No new tunnel connections after: {when(document['until'])}")
    if document.get("account_until"):
        lines.append(f"No logins at all after: {when(document['account_until'])}")
    elif document.get("mode") == "sshaccess":
        lines.append("Stays enabled until it is disabled.")
    if document.get("seed_fingerprint"):
        lines.append(f"Seed fingerprint: {document['seed_fingerprint']}")
    if hops:
        lines.append(f"Support may go on from here to: {', '.join(str(hop) for hop in hops)}")
    if document.get("ask"):
        lines.append("You are asked before each session.")
    if document.get("shell"):
        lines.append("A full login shell is allowed.")
    return lines


def _visits(document: Document, width: int) -> list[str]:
    lines = []
    for title, rows, remedy in (
        ("Logged in:", document["sessions"], ""),
        ("Waiting for your yes:", document["waiting"], "techsupport approve ID, or techsupport refuse ID"),
    ):
        if rows:
            lines += ["", paint(title, "notice", width) if remedy else title, visits(rows, width)]
            lines += [f"({remedy})"] if remedy else []
    return lines


def visits(rows: Sequence[Document], width: int) -> str:
    """Lay out support sessions: who, for which case, since when, from where, doing what."""
    titles = ("ID", 0), ("Engineer", 8), ("Case", 6), ("Since", 0), ("From", 8), ("What", 8)
    heads = [Column(title, least=least) for title, least in titles]
    cells = [
        [
            *(str(one.get(key) or "-") for key in ("id", "engineer", "case")),
            _since(one),
            _from(one),
            _what(one),
        ]
        for one in rows
    ]
    return table(heads, cells, width or 80)


def _from(visit: Document) -> str:
    """Say where a session comes from: an address if one is known, else through the recording bastion or directly."""
    source = str(visit.get("from") or "-")
    if "relayed" not in visit or _is_address(source):
        return source
    return "bastion" if visit["relayed"] else "direct"


def _what(visit: Document) -> str:
    """Say what is done or asked for: console, command, shell, files or hop, and which."""
    asked = visit.get("asked") if "asked" in visit else visit.get("what")
    what = " ".join(str(part) for part in (visit.get("kind"), asked) if part) or "-"
    return f"{what} (link lost)" if visit.get("detached_since") else what


def _is_address(text: str) -> bool:
    """Tell whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _since(visit: Document) -> str:
    since = visit.get("since")
    return stamp(since) if isinstance(since, int | float) else str(since or "-")


def when(value: Any) -> str:
    """Show a point in time."""
    return moment(value) if isinstance(value, int | float) else str(value)


def _tried(document: Document, width: int) -> list[str]:
    """Show the ports that were tried last, by the tunnel itself or by a probe."""
    probe = document.get("last_probe") or {}
    rounds = [document.get("attempts") or [], probe.get("attempts") or []]
    attempts = max(rounds, key=_tried_at)
    if not attempts:
        return [folded("Last probe: ", str(probe["problem"]), width or 80)] if probe.get("problem") else []
    host = document.get("host") or probe.get("host") or "the bastion"
    return ["", f"Ports of {host}, last tried {moment(_tried_at(attempts))}:", attempts_table(attempts, width)]


def _tried_at(attempts: Sequence[Document]) -> float:
    return max((float(one.get("at") or 0) for one in attempts), default=0.0)


def attempts_table(attempts: Sequence[Document], width: int) -> str:
    """Lay out the ports that were tried, in 80 columns, and below each verdict what helps."""
    heads = [
        Column("Address", least=9),
        Column("Port", right=True),
        Column("Way"),
        Column("Stage"),
        Column("ms", right=True),
        Column("Verdict"),
    ]
    rows = [
        [
            str(one.get("address") or "-"),
            str(one.get("port") or "-"),
            str(one.get("way") or "ssh"),
            str(one.get("stage") or "-"),
            str(one.get("took_ms", "-")),
            str(one.get("verdict") or "-"),
        ]
        for one in attempts
    ]
    head, *lines = table(heads, rows, width or 80).split("\n")
    styles = ["good" if one.get("verdict") in USABLE else "bad" for one in attempts]
    painted = [paint(line, style, width) for line, style in zip(lines, styles, strict=True)]
    return "\n".join([head, *painted, *_advice(attempts, width)])


def _advice(attempts: Sequence[Document], width: int) -> list[str]:
    advice: dict[str, str] = {}
    for one in attempts:
        if one.get("advice"):
            detail = f" ({one['detail']})" if one.get("detail") else ""
            advice.setdefault(str(one["verdict"]), f"{one['advice']}{detail}")
    return [folded(f"  {verdict}: ", text, width or 80) for verdict, text in advice.items()]


@command(
    "techsupport status",
    "Show whether support may log in, who is logged in and who waits.",
    render=render_status,
    roles=STAFF | {Role.SUPPORT},
    machines=MAIL_MACHINES,
)
async def status(call: Call) -> Document:
    """Asks the tunnel client, and the console for the people."""
    return await completed(call, await call.appliance.ask(CLIENT, "techsupport_status"))
