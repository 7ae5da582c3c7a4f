"""`trace`: what this gateway would do with a message, stage by stage, by the caller's pending configuration.

Nothing is delivered, stored or counted. The roots hand in what runs the message through (`Appliance.trace`); here are
the questions in the model's order (behaviour 2.31), with the answers of the last time as defaults, and the report.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from core.errors import EX_CONFIG, EX_DATAERR, EX_NOINPUT, GatepostError
from ops.cli.account import STAFF
from ops.cli.argument import Help, UsageProblem
from ops.cli.dialogue import Dialogue
from ops.cli.display import folded
from ops.cli.editing.file import STREAM, read_octets
from ops.cli.registry import Call, Command, Document, command

MOST_OCTETS = 10 << 20
"""Largest message that is traced."""
_REMEMBERED = 100
_KEPT = 64 * 1024
"""Longest message that is offered again."""
_last: dict[str, Document] = {}
"""The answers of each login's last dialogue."""
_FIRST = (
    ("host-access-table", "Host access"),
    ("default-domain", "Default domain"),
    ("masquerade-sender", "Masquerade"),
)
_EACH = (
    ("default-domain", "Default domain"),
    ("domain-map", "Domain map"),
    ("recipient-access-table", "Recipient access"),
    ("alias-table", "Alias table"),
)
_BEFORE_QUEUE = (("virtual-gateway", "Virtual gateway"), ("bounce-profile", "Bounce profile"))
_QUEUE = (("masquerade", "Masquerade"), ("message-filters", "Message filters"), ("stamp", "Text stamped"))
_LEAVING = (
    ("quarantine", "Quarantine"),
    ("global-unsubscribe", "Global unsubscribe"),
    ("destination", "Destination"),
)
_ROOM = 22
Decisions = Sequence[Mapping[str, Any]]


def _line(label: str, decision: Mapping[str, Any] | None, width: int, *, given: bool = False) -> str:
    """Show one decision: what was looked at where it says something, the rule, and what came of it."""
    if decision is None:
        return folded(f"  {label}:".ljust(_ROOM), "no change", width)
    rule = f"[{decision['rule']}] " if decision["rule"] else ""
    looked = f"{decision['input']}: " if given and decision["input"] else ""
    return folded(f"  {label}:".ljust(_ROOM), f"{looked}{rule}{decision['verdict']}", width)


def _of(decisions: Decisions, stage: str) -> list[Mapping[str, Any]]:
    return [one for one in decisions if one["stage"] == stage]


def _split(decisions: Decisions) -> tuple[Decisions, list[Decisions], Decisions]:
    """Cut the records into those of the sender, of each recipient, and of the message."""
    starts = [place for place, one in enumerate(decisions) if one["stage"] == "default-domain"][1:]
    first_message = next(
        (place for place, one in enumerate(decisions) if one["stage"] == "virtual-gateway"), len(decisions)
    )
    bounds = [*starts, first_message]
    each = [decisions[a:b] for a, b in pairwise(bounds)]
    return decisions[: bounds[0]], each, decisions[first_message:]


def _recipient(decisions: Decisions, width: int) -> list[str]:
    """Show what was decided of one recipient, as far as it came."""
    access = _of(decisions, "recipient-access-table")
    refused = not access or access[0]["verdict"] != "accepted"
    stages = [one for one in _EACH if not refused or one[0] != "alias-table"]
    return [f" {decisions[0]['input']}", *_one_each(decisions, stages, width)]


def _one_each(decisions: Decisions, stages: Iterable[tuple[str, str]], width: int) -> list[str]:
    return [_line(label, next(iter(_of(decisions, stage)), None), width) for stage, label in stages]


def _all_of(decisions: Decisions, stages: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Show every decision of some stages, each by what it was about."""
    lines = []
    for stage, label in stages:
        found = _of(decisions, stage)
        if stage == "message-filters":
            found = [one for one in found if one["rule"]]
            lines += [_line(label, None, width)] if not found else [f"  {label}:"]
            lines += [_filter(one, width) for one in found]
        elif stage not in {"stamp", "quarantine"} or found:
            lines += [_line(label, one, width, given=True) for one in found] or [_line(label, None, width)]
    return lines


def _filter(decision: Mapping[str, Any], width: int) -> str:
    matched = f" (matched {decision['input']})" if decision["input"] else ""
    return folded(f"    {decision['rule']}: ", f"{decision['verdict']}{matched}", width)


def render_trace(document: Document, width: int) -> str:
    """Show the sections of a trace in the order in which mail passes them."""
    sender, recipients, message = _split(document["decisions"])
    host = f"{document['address']} {document['host']}".strip()
    lines = [
        f"Trace on the listener {document['listener']}, from {host}",
        "",
        "Host access table processing:",
        *_one_each(sender, _FIRST[:1], width),
    ]
    if len(sender) > 1:
        lines += ["", "Processing MAIL FROM:", *_one_each(sender, _FIRST[1:], width)]
    if recipients:
        lines += ["", "Processing recipient list:"]
    for one in recipients:
        lines += _recipient(one, width)
    if message:
        lines += ["", "Message processing:", *_one_each(message, _BEFORE_QUEUE, width)]
        lines += ["", "Work queue:", *_all_of(message, _QUEUE, width)]
        leaving = _all_of(message, _LEAVING if document["verdict"] == "deliver" else _LEAVING[:1], width)
        if leaving:
            heading = "Message enqueued for delivery:" if document["verdict"] == "deliver" else "Quarantine:"
            lines += ["", heading, *leaving]
    lines += ["", _result(document)]
    if document.get("show"):
        lines += ["", "Resulting message:", "", str(document["message"])]
    return "\n".join(lines)


def _result(document: Document) -> str:
    reason = f": {document['reason']}" if document["reason"] else ""
    to = f" to {', '.join(document['recipients'][:10])}" if document["verdict"] == "deliver" else ""
    held = ", ".join(one["name"] for one in document["quarantines"])
    return f"Result: {document['verdict']}{to}{f' in {held}' if held else ''}{reason}"


async def _content(call: Call, file: str | None, given: str | None) -> bytes:
    """Give the message with its lines ended by CRLF, as a client sends it."""
    if given is not None:
        data = given.encode("utf-8", "surrogateescape")
    else:
        data = await read_octets(call, file or STREAM, MOST_OCTETS)
    if not data:
        raise GatepostError("there is no message: name a file, or give it on standard input", EX_NOINPUT)
    if len(data) > MOST_OCTETS:
        raise GatepostError(f"the message is larger than {MOST_OCTETS >> 20} MiB", EX_DATAERR)
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _listeners(call: Call) -> list[str]:
    return [str(row.get("name", "")) for row in call.editing.tables().get("listener") or []]


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    """Ask, trace, offer the resulting message and another run."""
    while True:
        arguments = await _questions(call, dialogue)
        document = await dialogue.perform("trace", arguments)
        if document is not None:
            dialogue.say()
            if document["message"] and await dialogue.confirm(
                "Would you like to see the resulting message?", default=True
            ):
                dialogue.say(document["message"])
        if not await dialogue.confirm("Would you like to trace another message?"):
            return None


async def _questions(call: Call, dialogue: Dialogue) -> Document:
    last = _last.get(call.caller.name, {})
    address = await _needed(dialogue, "Enter the IP address of the sending host", last.get("ip", ""))
    host = await dialogue.ask("Enter its host name (- for none, ? to look it up)", last.get("host") or "?")
    names = _listeners(call)
    if not names:
        raise GatepostError("there is no listener: `listenerconfig new` makes one", EX_CONFIG)
    before = names.index(last["listener"]) + 1 if last.get("listener") in names else 1
    listener = names[await dialogue.choose("Select the listener:", names, before)]
    dialogue.say("Network owner and reputation are not asked: there is no source for them.")
    sender = await dialogue.ask("Enter the envelope sender (<> for none)", last.get("sender") or "<>")
    to = await _needed(dialogue, "Enter the envelope recipients, separated by commas", last.get("to", ""))
    arguments: Document = {"ip": address, "host": host, "listener": listener, "sender": sender, "to": to}
    if last.get("content") and await dialogue.confirm("Use the same message again?", default=True):
        content = last["content"]
    elif await dialogue.confirm("Load the message from a file?", default=bool(last.get("file"))):
        content = ""
        arguments["file"] = await _needed(dialogue, "Enter the name of the file", last.get("file", ""))
    else:
        content = await dialogue.text("Enter or paste the message with its header; end with . on a line of its own.")
    if content:
        arguments["content"] = content
    if len(_last) >= _REMEMBERED:
        del _last[next(iter(_last))]
    _last[call.caller.name] = arguments if len(content) <= _KEPT else {**arguments, "content": ""}
    return arguments


async def _needed(dialogue: Dialogue, question: str, default: str) -> str:
    while not (answer := await dialogue.ask(question, default)):
        dialogue.say("An answer is needed here.")
    return answer


@command(
    "trace",
    "Show what would become of a message, by the pending configuration.",
    render=render_trace,
    dialogue=_ask,
    roles=STAFF,
    machines={"esa"},
    multiline={"message"},
)
async def trace(
    call: Call,
    file: Annotated[
        str | None, Help("file with the message in configuration/, or - for standard input", "FILE")
    ] = None,
    *,
    ip: Annotated[str | None, Help("address of the sending host", "ADDRESS")] = None,
    to: Annotated[str | None, Help("envelope recipients", "ADDRESS,ADDRESS…")] = None,
    sender: Annotated[str, Help("envelope sender, <> for none", "ADDRESS")] = "<>",
    listener: Annotated[str | None, Help("listener that takes it; default the first", "NAME")] = None,
    host: Annotated[str, Help("name of the sending host, taken as verified; - for none, ? to look it up")] = "-",
    content: Annotated[str | None, Help("the message itself, typed or pasted", "TEXT", secret=True)] = None,
    show_message: Annotated[bool, Help("show the resulting message")] = False,
) -> Document:
    """The message goes through the listener's own session and the pipeline, and is neither delivered nor stored.

    Files are in the machine's folder configuration/. Changes that are not committed count.
    """
    if call.appliance.trace is None:
        raise GatepostError("trace: this machine takes no mail", EX_CONFIG)
    if not ip or not to:
        raise UsageProblem("--ip ADDRESS and --to ADDRESS are needed")
    names = _listeners(call)
    if listener is None and not names:
        raise GatepostError("there is no listener: `listenerconfig new` makes one", EX_CONFIG)
    asked: Document = {
        "address": ip,
        "host": None if host == "?" else "" if host == "-" else host,
        "listener": listener or names[0],
        "sender": sender,
        "recipients": [part.strip() for part in to.split(",") if part.strip()],
    }
    document = await call.appliance.trace(call.editing.tables(), asked, await _content(call, file, content))
    return {**document, "show": show_message}


COMMANDS: tuple[Command, ...] = (trace,)
