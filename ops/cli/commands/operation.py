"""Verbs that act on many recipients at once: asked first, shown while they run, stopped with Ctrl-C.

The daemon does the work (`operate`); here are the selectors, the question and the words, shared by `deleterecipients`,
`bouncerecipients`, `redirectrecipients`, `releasehold` and `removemessage`. What is done when a command is broken off
stays done, and the result says how much that is.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from core.errors import EX_TEMPFAIL, GatepostError
from core.record import HOLD_QUEUE
from ops.cli.account import STAFF
from ops.cli.argument import Help, UsageProblem
from ops.cli.dialogue import Dialogue
from ops.cli.display import number
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

QUEUE = "delivery-queue"
_WAIT_S = 0.5
_DONE = {"delete": "deleted", "bounce": "bounced", "redirect": "redirected", "release": "released"}
_ENDED = ("done", "stopped", "failed")

Host = Annotated[str, Help("only this recipient domain, or pseudo host", "DOMAIN")]
Sender = Annotated[str, Help("only this sender: ADDRESS, USER@, @DOMAIN, or <> for the null sender", "ADDRESS")]
Mids = Annotated[str, Help("only these messages, separated by commas", "MID")]
Filter = Annotated[str, Help("only what this rule of the filter language takes", "RULE")]
All = Annotated[bool, Help("all mail in the queue")]
Yes = Annotated[bool, Help("do it without a question")]
DryRun = Annotated[bool, Help("only say how many messages it would be")]


def selector_of(host: str = "", sender: str = "", mid: str = "", filter_: str = "") -> Document:
    """Give the selector as the daemon takes it. Raises status 64."""
    selector: Document = {}
    if host:
        selector["host"] = host.strip().lower().rstrip(".")
    if sender:
        selector["sender"] = "" if sender.strip() == "<>" else sender.strip().strip("<>")
    if mid:
        selector["mids"] = [word for word in mid.replace(",", " ").split() if word]
        wrong = [word for word in selector["mids"] if not word.isdecimal()]
        if wrong:
            raise UsageProblem(f"{wrong[0]!r} is not a MID")
    if filter_:
        selector["filter"] = filter_
    return selector


async def operate(call: Call, action: str, selector: Mapping[str, Any], **more: Any) -> Document:
    """Run one operation to its end and give its document; broken off, it is stopped and says how far it came."""
    document: Document = await call.appliance.ask(QUEUE, "operate", action=action, **selector, **more)
    number_ = document["id"]
    try:
        while document["state"] not in _ENDED:
            document = await call.appliance.ask(QUEUE, "operation", id=number_, wait_s=_WAIT_S)
            words = f"{number(document['messages'])} {'found' if document['dry_run'] else _DONE[action]}"
            call.progress(document["looked_at"], document["total"], words)
    except asyncio.CancelledError:
        document = await call.appliance.ask(QUEUE, "operation_stop", id=number_)
        while document["state"] not in _ENDED:
            document = await call.appliance.ask(QUEUE, "operation", id=number_, wait_s=_WAIT_S)
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        call.progress(-1, 0, "")
    if document["state"] == "failed":
        done = f"{number(document['messages'])} messages were {_DONE[action]} before"
        raise GatepostError(f"{document['error']}; {done}", EX_TEMPFAIL)
    return document


def render(document: Document, width: int) -> str:
    """Say how many messages were touched, or would be."""
    messages, recipients = document["messages"], document["recipients"]
    done = _DONE[document["action"]]
    if document["dry_run"]:
        lines = [f"{_messages(messages)} ({_recipients(recipients)}) would be {done}; nothing was changed."]
    elif document["action"] == "redirect":
        lines = [f"{_recipients(recipients)} redirected.", f"They go to {document['to']} ({_messages(messages)})."]
    else:
        lines = [f"{_messages(messages)} {done}.", f"That is {_recipients(recipients)}."]
    if document["state"] == "stopped":
        seen = f"{number(document['looked_at'])} of {number(document['total'])}"
        lines.append(f"Stopped after looking at {seen} messages; what was done stays done.")
    if document["busy"]:
        lines.append(f"{_recipients(document['busy'])} busy in active delivery: left as they are.")
    if document.get("unreported"):
        lines.append(f"{_recipients(document['unreported'])} stay: their bounce could not be recorded now.")
    return "\n".join(lines)


def _messages(n: int) -> str:
    return "1 message" if n == 1 else f"{number(n)} messages"


def _recipients(n: int) -> str:
    return "1 recipient" if n == 1 else f"{number(n)} recipients"


async def _run(call: Call, action: str, selector: Document, yes: bool, dry_run: bool, **more: Any) -> Document:
    if not (yes or dry_run):
        raise UsageProblem("it cannot be undone: say --yes to do it, or --dry-run to see how many messages it would be")
    return await operate(call, action, selector, dry_run=dry_run, **more)


def _chosen(selector: Document, every: bool) -> Document:
    if not selector and not every:
        raise UsageProblem("say which: --host, --sender, --mid, --filter, or --all")
    if selector and every:
        raise UsageProblem("--all goes with no other choice")
    return selector


_WAYS = ("By recipient host", "By Envelope From address", "All", "By a rule of the filter language", "By message ID")
_KEYS = ("host", "sender", "", "filter_", "mid")
_QUESTIONS = {
    "host": "Please enter the recipient host.",
    "sender": "Please enter the Envelope From address: ADDRESS, USER@, @DOMAIN, or <>.",
    "filter_": "Please enter the rule, for example subject == 'invoice' and age > 3600.",
    "mid": "Please enter the MIDs, separated by commas.",
}


async def ask_selector(dialogue: Dialogue, verb: str) -> tuple[Document, str] | None:
    """Ask who is meant; gives the arguments and how the confirmation calls it, None for an empty answer."""
    place = await dialogue.choose(f"Please select how you would like to {verb} messages:", _WAYS)
    key = _KEYS[place]
    if not key:
        return {"all_": True}, "in the delivery queue"
    value = await dialogue.ask(_QUESTIONS[key])
    if not value:
        return None
    named = {
        "host": f'being delivered to "{value}"',
        "sender": f'from "{value}"',
        "filter_": f"that match {value}",
        "mid": f"with MID {value}",
    }
    return {key: value}, named[key]


async def _confirmed(call: Call, dialogue: Dialogue, verb: str, arguments: Document, named: str, **more: Any) -> bool:
    """Say how many it would be, then ask."""
    selector = selector_of(**{key: value for key, value in arguments.items() if key != "all_"})
    preview = await operate(call, verb, selector, dry_run=True, **more)
    if not preview["messages"]:
        dialogue.say(f"No messages {named}." if not preview["busy"] else "All of them are busy in active delivery.")
        return False
    dialogue.say(f"{_messages(preview['messages'])} with {_recipients(preview['recipients'])}.")
    return await dialogue.confirm(f"Are you sure you want to {verb} all messages {named}?")


async def _ask_delete(call: Call, dialogue: Dialogue) -> Document | None:
    return await _ask(call, dialogue, "delete")


async def _ask_bounce(call: Call, dialogue: Dialogue) -> Document | None:
    return await _ask(call, dialogue, "bounce")


async def _ask(call: Call, dialogue: Dialogue, verb: str) -> Document | None:
    async def attempt() -> Document | None:
        asked = await ask_selector(dialogue, verb)
        if asked is None or not await _confirmed(call, dialogue, verb, *asked):
            return None
        return {**asked[0], "yes": True}

    return await dialogue.until_right(attempt)


@command(
    "deleterecipients",
    "Delete messages from the delivery queue.",
    render=render,
    dialogue=_ask_delete,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def deleterecipients(
    call: Call,
    *,
    host: Host = "",
    sender: Sender = "",
    mid: Mids = "",
    filter_: Filter = "",
    all_: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> Document:
    """Nobody is told; they count as deleted recipients. Recipients in active delivery are left. What is given must
    all hold for a recipient. Ctrl-C stops; what is done stays done."""
    selector = _chosen(selector_of(host, sender, mid, filter_), all_)
    return await _run(call, "delete", selector, yes, dry_run)


@command(
    "bouncerecipients",
    "Bounce messages from the delivery queue.",
    render=render,
    dialogue=_ask_bounce,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def bouncerecipients(
    call: Call,
    *,
    host: Host = "",
    sender: Sender = "",
    mid: Mids = "",
    filter_: Filter = "",
    all_: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> Document:
    """Each sender gets a report as its bounce profile says; they count as other hard bounces. Recipients in active
    delivery are left. What is given must all hold for a recipient. Ctrl-C stops; what is done stays done."""
    selector = _chosen(selector_of(host, sender, mid, filter_), all_)
    return await _run(call, "bounce", selector, yes, dry_run)


_WARNING = "WARNING: a host that is not prepared to take this mail may bounce it or lose it."


async def _ask_redirect(call: Call, dialogue: Dialogue) -> Document | None:
    async def attempt() -> Document | None:
        to = await dialogue.ask("Please enter the host name or IP address to send all mail in the queue to.")
        if not to:
            return None
        dialogue.say(_WARNING)
        if not await _confirmed(call, dialogue, "redirect", {}, "in the delivery queue", to=to):
            return None
        return {"to": to, "yes": True}

    return await dialogue.until_right(attempt)


@command(
    "redirectrecipients",
    "Send mail of the delivery queue to another host.",
    render=render,
    dialogue=_ask_redirect,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def redirectrecipients(
    call: Call,
    to: Annotated[str, Help("where to send it: HOST, ADDRESS or HOST:PORT", "HOST")],
    *,
    host: Host = "",
    sender: Sender = "",
    mid: Mids = "",
    filter_: Filter = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> Document:
    """All mail in the queue, unless a choice is given. It stands then in the queue [HOST]:PORT and goes to the
    addresses of that host, its MX records are not asked. Mail in pseudo hosts stays. A host that is not prepared to
    take this mail may bounce it or lose it."""
    return await _run(call, "redirect", selector_of(host, sender, mid, filter_), yes, dry_run, to=to)


async def _ask_release(call: Call, dialogue: Dialogue) -> Document | None:
    return await dialogue.until_right(lambda: _ask_held(call, dialogue))


async def _ask_held(call: Call, dialogue: Dialogue) -> Document | None:
    mid = await dialogue.ask("Please enter the MIDs of held messages, separated by commas; empty for all.")
    arguments: Document = {"mid": mid} if mid else {"all_": True}
    named = f"with MID {mid}" if mid else f"in {HOLD_QUEUE}"
    if not await _confirmed(call, dialogue, "release", arguments, named):
        return None
    return {**arguments, "yes": True}


@command(
    "releasehold",
    "Let messages out of the.hold.queue.",
    render=render,
    dialogue=_ask_release,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def releasehold(
    call: Call,
    *,
    mid: Mids = "",
    sender: Sender = "",
    filter_: Filter = "",
    all_: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> Document:
    """They go on as their outcome says: to the central quarantine if they were on the way there, else to their
    recipients. No further stage of the work queue looks at them. To be rid of them: deleterecipients."""
    return await _run(call, "release", _chosen(selector_of("", sender, mid, filter_), all_), yes, dry_run)


COMMANDS = (deleterecipients, bouncerecipients, redirectrecipients, releasehold)
