"""`mailconfig` and `supportrequest`: mail that an operator sends off from the console, by the direct path.

Neither needs the queue: what is sent has arrived, or the reason is told. What a support request says of the customer is
remembered in state/support.json, the address it goes to stands in the configuration ([support]).
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Any

from core.alert.config import SupportSection, is_mailbox
from core.alert.direct import DirectPath
from core.disk import Disk, read_file, replace_file
from core.errors import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help, UsageProblem
from ops.cli.commands.machine import machine_facts
from ops.cli.commands.staged import Operations, menu_of, put, render_staged, section, stage, words_of
from ops.cli.dialogue import Dialogue
from ops.cli.display import as_json, moment
from ops.cli.registry import Call, Command, Document, command
from ops.configuration.mask import mask
from ops.configuration.toml import toml
from ops.status import collect

REMEMBERED = ("contract", "contact", "phone", "cc")
_WARNING = (
    "Do you want to include passphrases? Please be aware that a configuration file without passphrases will fail when"
    " reloaded with loadconfig."
)
SEVERITIES = ("Critical: mail stands still", "Serious: mail is hindered", "Minor: something is wrong", "Question")
_ALERTS = 50
_MOST_TO = 20


def _direct(call: Call) -> DirectPath:
    if call.appliance.direct is None:
        raise GatepostError("this machine sends no mail from here", EX_UNAVAILABLE)
    return call.appliance.direct(call.editing.in_force())


def _recipients(text: str) -> list[str]:
    found = words_of(text)
    for one in found:
        if not is_mailbox(one):
            raise GatepostError(f"{one!r} is no mail address", EX_DATAERR)
    if not found or len(found) > _MOST_TO:
        raise UsageProblem(f"give one to {_MOST_TO} mail addresses, separated by commas")
    return found


async def _send(direct: DirectPath, message: EmailMessage, to: Sequence[str]) -> list[Document]:
    """Send one message to each; raises status 75 if nobody got it."""
    rows = [{"address": one, "reason": await direct.send(message, one)} for one in to]
    if all(row["reason"] for row in rows):
        reasons = "; ".join(f"{row['address']}: {row['reason']}" for row in rows)
        raise GatepostError(f"it was not sent: {reasons}", EX_TEMPFAIL)
    return rows


def _attach(message: EmailMessage, name: str, text: str) -> None:
    message.add_attachment(text, filename=name)


def render_sent(document: Document, width: int) -> str:
    """Say to whom the configuration has been sent."""
    return "\n".join(
        f"Sending to {row['address']} failed: {row['reason']}"
        if row["reason"]
        else f"The configuration file has been sent to {row['address']}."
        for row in document["recipients"]
    )


async def _ask_mail(call: Call, dialogue: Dialogue) -> Document | None:
    dialogue.say("Please enter the email address to which you want to send the configuration file.")
    addresses = await dialogue.ask("Separate multiple addresses with commas.")
    if not addresses:
        return None
    return {"addresses": addresses, "passphrases": await dialogue.confirm(_WARNING)}


@command("mailconfig", "Mail the configuration.", render=render_sent, dialogue=_ask_mail, roles=ADMINISTRATORS)
async def mailconfig(
    call: Call,
    addresses: Annotated[str, Help("mail addresses separated by commas", "ADDRESS")],
    *,
    passphrases: Annotated[bool, Help("include secrets; without them loadconfig refuses the file")] = False,
) -> Document:
    """The one in force, by the direct path: proof at the same time that mail leaves this machine."""
    to = _recipients(addresses)
    tables = call.editing.in_force()
    direct, name = _direct(call), call.appliance.hostname
    text = f"The configuration of {name} ({call.appliance.serial}), sent by {call.caller}.\n"
    text += "Secrets are in it: keep it to yourself.\n" if passphrases else "Secrets are masked in it.\n"
    message = direct.message(", ".join(to), f"Configuration of {name}", text, who="configuration")
    file = f"{call.appliance.serial}-gatepost.toml"
    _attach(message, file, toml(tables if passphrases else mask(tables)))
    return {"recipients": await _send(direct, message, to), "file": file, "passphrases": passphrases}


@dataclass(frozen=True)
class _Customer:
    """What is remembered of who asks for support."""

    path: Path
    facts: dict[str, str] = field(default_factory=dict)


def _customer(call: Call) -> _Customer:
    path = call.appliance.dir / "state" / "support.json"
    try:
        found = json.loads(read_file(Disk(), path) or b"{}")
    except (OSError, ValueError):
        found = {}
    return _Customer(path, {key: str(found.get(key, "")) for key in REMEMBERED} if isinstance(found, dict) else {})


def _remember(customer: _Customer, given: dict[str, str]) -> None:
    try:
        Disk().make_directory(customer.path.parent)
        replace_file(Disk(), customer.path, json.dumps(given).encode(), mode=0o600)
    except OSError as error:
        raise GatepostError(f"{customer.path} cannot be written: {error.strerror}", EX_CANTCREAT) from None


def render_support(document: Document, width: int) -> str:
    """Show where requests go, and what is remembered."""
    lines = [f"Support requests go to: {document['address'] or 'nobody: supportrequest setup --address'}"]
    lines += [f"Copies: {document['cc']}"] if document["cc"] else []
    labels = {"contract": "Contract ID", "contact": "Contact", "phone": "Phone"}
    lines += [f"{label}: {document[key] or 'not given yet'}" for key, label in labels.items()]
    return "\n".join(lines)


@command("supportrequest status", "Show where support requests go.", render=render_support, roles=ADMINISTRATORS)
async def supportrequest_status(call: Call) -> Document:
    """The address stands in the configuration, the rest is remembered from the last request."""
    configured = SupportSection(**section(call.editing.in_force(), "support"))
    customer = _customer(call).facts
    return {**customer, "address": configured.address, "cc": customer.get("cc") or ", ".join(configured.cc)}


@command("supportrequest setup", "Set where support requests go.", render=render_staged, roles=ADMINISTRATORS)
async def supportrequest_setup(
    call: Call,
    *,
    address: Annotated[str, Help("mail address of the support organisation", "ADDRESS")] = "",
    cc: Annotated[str | None, Help("who always gets a copy, separated by commas", "ADDRESS")] = None,
) -> Document:
    """What is not given stays."""
    values: dict[str, Any] = {"address": _recipients(address)[0]} if address else {}
    if cc is not None:
        values["cc"] = _recipients(cc) if cc.strip() else None
    return await stage(call, "where support requests go was changed", lambda tables: put(tables, "support", **values))


async def _situation(call: Call) -> dict[str, str]:
    """Give the files of a request: what is configured, what runs, what has happened; no secret in any."""
    files = {"configuration.toml": toml(mask(call.editing.in_force())), "version.json": as_json(machine_facts(call))}
    try:
        files["status.json"] = as_json(await collect(call.appliance))
    except GatepostError as error:
        files["status.txt"] = f"The status could not be had: {error.text}\n"
    if call.appliance.alert_records is not None:
        files["alerts.json"] = as_json({"alerts": await asyncio.to_thread(call.appliance.alert_records.last, _ALERTS)})
    return files


def render_requested(document: Document, width: int) -> str:
    """Say what became of the request."""
    lines = [
        f"{row['address']}: {'sent' if not row['reason'] else 'not sent: ' + row['reason']}"
        for row in document["recipients"]
    ]
    return "\n".join([f'Support request "{document["subject"]}":', *lines, f"With it: {', '.join(document['files'])}."])


@command(
    "supportrequest send", "Send a support request.", render=render_requested, roles=ADMINISTRATORS, multiline={"text"}
)
async def supportrequest_send(
    call: Call,
    subject: Annotated[str, Help("what it is about")],
    description: Annotated[str, Help("what happens; from standard input without it", secret=True)] = "",
    *,
    severity: Annotated[int, Help("1 critical, 2 serious, 3 minor, 4 question", "N", 1, 4)] = 3,
    contact: Annotated[str, Help("name and mail address of who asks", "TEXT")] = "",
    phone: Annotated[str, Help("telephone", "TEXT")] = "",
    contract: Annotated[str, Help("contract ID", "ID")] = "",
    ticket: Annotated[str, Help("case that there is already", "ID")] = "",
    cc: Annotated[str, Help("who gets a copy, separated by commas", "ADDRESS")] = "",
) -> Document:
    """With the configuration (secrets masked), version, status and the last alerts. Contract, contact, phone and copies
    are remembered for the next one. Not for what is urgent: call then."""
    configured = SupportSection(**section(call.editing.in_force(), "support"))
    if not configured.address:
        raise GatepostError(
            "nobody is to get support requests; set supportrequest setup --address, then commit", EX_CONFIG
        )
    customer = _customer(call)
    given = {"contract": contract, "contact": contact, "phone": phone, "cc": cc}
    given = {key: given[key] or customer.facts.get(key, "") for key in REMEMBERED}
    if missing := [key for key in ("contract", "contact") if not given[key]]:
        raise UsageProblem(f"supportrequest send: --{missing[0]} is needed the first time; it is remembered")
    text = description or (await call.stdin()).decode("utf-8", "replace")
    direct, files = _direct(call), await _situation(call)
    copies = list(dict.fromkeys([*configured.cc, *(_recipients(given["cc"]) if given["cc"] else [])]))
    head = {
        "Contract ID": given["contract"],
        "Contact": given["contact"],
        "Phone": given["phone"],
        "Ticket": ticket,
        "Severity": f"{severity} ({SEVERITIES[severity - 1]})",
        "Host": f"{call.appliance.hostname}, serial {call.appliance.serial}, {call.appliance.role}",
        "Version": f"{call.appliance.product} {call.appliance.version}",
        "Sent": f"{moment(call.appliance.now())} by {call.caller}",
    }
    body = "\n".join(f"{label}: {value}" for label, value in head.items() if value) + f"\n\n{text.strip()}\n"
    title = f"{f'[{ticket}] ' if ticket else ''}Severity {severity}: {subject}"
    message = direct.message(configured.address, title, body, who="support request")
    if copies:
        message["Cc"] = ", ".join(copies)
    for name, content in files.items():
        _attach(message, name, content)
    rows = await _send(direct, message, [configured.address, *copies])
    await asyncio.to_thread(_remember, customer, given)
    return {"subject": title, "recipients": rows, "files": list(files), **given}


async def _ask_send(call: Call, dialogue: Dialogue) -> None:
    dialogue.say("Not for what is urgent: call support then.")
    known = _customer(call).facts
    ticket = ""
    if await dialogue.confirm("Is this support request associated with an existing support ticket?"):
        ticket = await dialogue.ask("Please enter the ticket number.")
    severity = 1 + await dialogue.choose("Please select the severity:", SEVERITIES, 3)
    subject = await dialogue.ask("Please enter a subject line for this request.")
    if not subject:
        return
    text = await dialogue.text("Please describe what happens; end with '.':")
    contract = await dialogue.ask("Please enter your contract ID.", known.get("contract", ""))
    contact = await dialogue.ask("Please enter your name and mail address.", known.get("contact", ""))
    phone = await dialogue.ask("Please enter your phone number.", known.get("phone", ""))
    cc = await dialogue.ask("Who else is to get a copy? Separate addresses with commas.", known.get("cc", ""))
    if await dialogue.confirm("Do you want to send the support request?", default=True):
        arguments = {"subject": subject, "description": text, "severity": severity, "ticket": ticket}
        arguments |= {"contract": contract, "contact": contact, "phone": phone, "cc": cc}
        await dialogue.perform("supportrequest send", arguments)


async def _ask_setup(dialogue: Dialogue) -> None:
    address = await dialogue.ask("Please enter the mail address of your support organisation.")
    cc = await dialogue.ask("Who is always to get a copy? Separate addresses with commas.")
    await dialogue.perform("supportrequest setup", {"address": address, "cc": cc or None})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations: Operations = {
        "SEND": ("Send a support request.", lambda: _ask_send(call, dialogue)),
        "SETUP": ("Set where support requests go.", lambda: _ask_setup(dialogue)),
    }
    await menu_of(call, dialogue, "supportrequest status", operations)
    return None


COMMANDS = (
    mailconfig,
    Command("supportrequest", "Ask support for help.", run=None, dialogue=_menu, roles=ADMINISTRATORS),
    supportrequest_status,
    supportrequest_setup,
    supportrequest_send,
)
