"""`diagnostic`: NETWORK (flush caches, neighbours, a test message by SMTP) and DISK_USAGE."""

import asyncio
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Any

from core.disk import Disk
from core.errors import EX_DATAERR, EX_UNAVAILABLE, GatepostError
from core.lookup import ask as ask_dns
from core.name_server import is_address
from core.smtp_ping import Letter, Step, Way, smtp_ping
from core.usage import FOLDERS, size_text, usage_of
from ops.cli.account import INSPECTORS, STAFF
from ops.cli.argument import Help
from ops.cli.commands.name_service import forget_names
from ops.cli.commands.network.choice import Source, ask_source, source
from ops.cli.dialogue import Dialogue
from ops.cli.display import clean, number
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table
from ops.network import watch
from ops.network.place import find, servers_of
from protocol.address import parse_path
from protocol.errors import MailError

_NETWORK = {
    "FLUSH": "Flush all network related caches.",
    "ARPSHOW": "Show system ARP cache.",
    "SMTPPING": "Test a remote SMTP server.",
}
_PLACES = {"": "spool/journal", **FOLDERS}
"""What is shown: the journals, which have no quota, and what has one, by its key."""
_BODY_LIMIT = 256 * 1024
_DEFAULT_BODY = "This is a test message of diagnostic > network > smtpping.\n"


async def _ask_diagnostic(call: Call, dialogue: Dialogue) -> Document | None:
    while chosen := await dialogue.menu({"NETWORK": "Network utilities.", "DISK_USAGE": "Check disk usage."}):
        if chosen == "NETWORK":
            await _ask_network(call, dialogue)
        else:
            await dialogue.perform("diagnostic disk_usage", {})
    return None


async def _ask_network(call: Call, dialogue: Dialogue) -> Document | None:
    while chosen := await dialogue.menu(_NETWORK):
        arguments = await _ask_smtpping(call, dialogue) if chosen == "SMTPPING" else {}
        if arguments is not None:
            await dialogue.perform(f"diagnostic network {chosen.lower()}", arguments)
    return None


def _of_operations(document: Document, width: int) -> str:
    return "\n".join(document["operations"])


@command("diagnostic", "Look for trouble.", render=_of_operations, dialogue=_ask_diagnostic, roles=INSPECTORS)
async def diagnostic(call: Call) -> Document:
    """A menu; in batch give the whole path."""
    return {"operations": [item.name for item in call.registry.below("diagnostic")]}


@command("diagnostic network", "Network utilities.", render=_of_operations, dialogue=_ask_network, roles=INSPECTORS)
async def diagnostic_network(call: Call) -> Document:
    """A menu; in batch give the whole path."""
    return {"operations": [item.name for item in call.registry.below("diagnostic network")]}


def render_flush(document: Document, width: int) -> str:
    """Say what was forgotten, and what could not be."""
    lines = [f"{row['daemon']}: {row['error'] or number(row['flushed']) + ' names'}" for row in document["daemons"]]
    neighbours = document["neighbours_error"] or "flushed"
    return "\n".join(["Network caches have been flushed.", *lines, f"neighbours and routes: {neighbours}"])


@command("diagnostic network flush", "Flush all network caches.", render=render_flush, roles=STAFF)
async def flush(call: Call) -> Document:
    """What the daemons know of the DNS, the system's table of neighbours (ARP) and its cache of routes; the last two
    need the rights of root.
    """
    return {"daemons": await forget_names(call), "neighbours_error": await watch.forget_neighbours() or None}


def render_arp(document: Document, width: int) -> str:
    """Show one neighbour a line."""
    heads = [Column("Address"), Column("Hardware"), Column("Interface"), Column("State")]
    rows = [[str(one[key]) for key in ("address", "hardware", "interface", "state")] for one in document["neighbours"]]
    return table(heads, rows, width) if rows else "No neighbours are known."


@command("diagnostic network arpshow", "Show the neighbours (ARP).", render=render_arp, roles=INSPECTORS)
async def arpshow(call: Call) -> Document:
    """Of IPv4 and IPv6."""
    rows = await watch.neighbours()
    return {"neighbours": rows[: watch.MOST_ROWS]}


async def _exchangers(call: Call, host: str) -> list[tuple[int, str]]:
    """Give the mail exchangers of a domain, best first; none for an address or where nothing is known."""
    try:
        reply = await ask_dns(servers_of(call.appliance.configuration()), host, "MX")
    except GatepostError:
        return []
    rows = [row.text.split() for row in reply.sections["answer"] if row.kind == "MX"]
    found = [(int(row[0]), row[1].rstrip(".")) for row in rows if len(row) == 2 and row[1] != "."]
    return sorted(found)


async def _ask_smtpping(call: Call, dialogue: Dialogue) -> Document | None:
    host = await dialogue.ask("Enter the hostname or IP address of the SMTP server:", call.appliance.hostname)
    if not host:
        return None
    found = await _exchangers(call, host)
    question = "The domain you entered has MX records. Would you like to select an MX host to test?"
    if found and await dialogue.confirm(question, default=True):
        names = [f"{name} (preference {preference})" for preference, name in found]
        host = found[await dialogue.choose("Select an MX host to test.", names)][1]
    port = await dialogue.number("Enter the port:", 25, 65535)
    start = await ask_source(call, dialogue, "Select a network interface to use for the test.")
    own = f"test@{call.appliance.hostname}"
    sender = await dialogue.ask("Enter the From e-mail address:", own)
    to = await dialogue.ask(
        "Enter the To e-mail address:", f"postmaster@{call.appliance.hostname if is_address(host) else host}"
    )
    subject = await dialogue.ask("Enter the Subject:", "Test Message")
    body = await dialogue.text("Enter the Body of the message one line at a time. End with a '.' on a line by itself.")
    more = {"from_address": sender, "to": to, "subject": subject, "body": body}
    return {"host": host, "port": port or 25, "from_": start, **more}


def render_smtpping(document: Document, width: int) -> str:
    """Say how it ended; the steps were shown as they were done."""
    word = "SMTP Test failed" if document["failed"] else "SMTP Test complete"
    return f"{word}. Total time elapsed {document['total_ms'] / 1000:.2f} seconds."


@command("diagnostic network smtpping", "Send a test message to a mail host.", render=render_smtpping, roles=STAFF)
async def smtpping(
    call: Call,
    host: Annotated[str, Help("name or address of the mail host")],
    to: Annotated[str, Help("recipient", "ADDRESS")],
    *,
    port: Annotated[int, Help("port", least=1, most=65535)] = 25,
    from_: Source = "",
    from_address: Annotated[str, Help("sender; default test@ and the host name", "ADDRESS")] = "",
    subject: Annotated[str, Help("subject")] = "Test Message",
    body: Annotated[str, Help("text of the message; left out: standard input, or a line of its own")] = "",
    timeout: Annotated[float, Help("seconds for each step", "SECONDS", least=1, most=300)] = 30.0,
) -> Document:
    """Straight to that host, past queue and routes. Shows each step with the time that it took; TLS is taken where it
    is offered, and not verified.
    """
    start = source(call, from_)
    target = await find(call.appliance.configuration(), host, start)
    text = body or (await call.stdin()).decode("utf-8", "replace") or _DEFAULT_BODY
    if len(text) > _BODY_LIMIT:
        raise GatepostError(f"the text is longer than {_BODY_LIMIT} characters", EX_DATAERR)
    hostname = call.appliance.hostname
    sender, recipient = _address(from_address or f"test@{hostname}"), _address(to)
    letter = Letter(sender, (recipient,), _content(sender, recipient, subject, text, hostname))
    call.show(f"Starting SMTP test of host {target.host}.\nConnecting to {target.address}, port {port}.")

    def shown(step: Step) -> None:
        code = f"{step.code} " if step.code else ""
        call.show(f"{step.took_ms:>9.1f} ms  {step.name}: {code}{clean(', '.join(step.text.splitlines()))}")

    steps = await smtp_ping(Way(target.address, port, hostname, start, timeout), letter, shown)
    failed = [one for one in steps if one.failed]
    document: Document = {
        "host": target.host,
        "address": target.address,
        "port": port,
        "from": start or None,
        "steps": [
            {"step": one.name, "code": one.code, "text": one.text, "ms": one.took_ms, "failed": one.failed}
            for one in steps
        ],
        "failed": bool(failed),
        "total_ms": round(sum(one.took_ms for one in steps), 1),
    }
    if failed and not call.watched:
        last = failed[-1]
        raise GatepostError(f"{last.name}: {last.code or ''} {clean(last.text)}".replace("  ", " "), EX_UNAVAILABLE)
    return document


def _address(text: str) -> str:
    """Check an address of the envelope. Raises status 65."""
    try:
        path = parse_path(f"<{text}>".encode(), smtputf8=True)
    except (MailError, ValueError):
        path = None
    if path is None or not path.domain:
        raise GatepostError(f"{text!r} is no mail address", EX_DATAERR)
    return path.text


def _content(sender: str, recipient: str, subject: str, text: str, hostname: str) -> bytes:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = clean(subject)
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain=hostname)
    message.set_content(clean(text, lines=True))
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def render_disk(document: Document, width: int) -> str:
    """Show one folder a line, and the file system."""
    heads = [Column("Folder"), Column("Used", right=True), Column("Quota", right=True), Column("%", right=True)]
    rows = []
    for row in document["folders"]:
        quota = row["quota_bytes"]
        part = f"{100 * row['bytes'] / quota:.0f}" if quota else "-"
        used = ("> " if row["cut"] else "") + size_text(row["bytes"])
        rows.append([str(row["folder"]), used, size_text(quota) if quota else "-", part])
    disk = document["disk"]
    line = f"Disk: {size_text(disk['total_bytes'])}, of which {size_text(disk['free_bytes'])} are free."
    return f"{table(heads, rows, width)}\n\n{line}"


@command("diagnostic disk_usage", "Show what the folders of this machine take.", render=render_disk, roles=INSPECTORS)
async def disk_usage(call: Call) -> Document:
    """Beside each folder stands its quota of [disk_quota], over which there are alerts."""
    folder = call.appliance.dir
    section = call.appliance.configuration().get("disk_quota")
    quotas: Mapping[str, Any] = section if isinstance(section, Mapping) else {}

    def count() -> list[Document]:
        rows = []
        for key, place in _PLACES.items():
            found = usage_of(folder / place)
            row = {"folder": place, "bytes": found.octets, "cut": found.cut}
            rows.append({**row, "quota_bytes": int(quotas.get(key) or 0) or None})
        return rows

    try:
        free, total = Disk().space(folder)
    except OSError as error:
        raise GatepostError(f"{folder}: {error.strerror}", EX_UNAVAILABLE) from None
    return {"folders": await asyncio.to_thread(count), "disk": {"free_bytes": free, "total_bytes": total}}


COMMANDS = (diagnostic, diagnostic_network, flush, arpshow, smtpping, disk_usage)
