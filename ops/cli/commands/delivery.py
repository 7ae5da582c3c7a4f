"""`suspenddel`, `resumedel`, `delivernow`: stopping delivery, all of it or to some hosts, and trying at once.

What is suspended stays so over a restart; the daemon keeps that. Listeners are suspended with `suspendlistener`, both
with `suspend`.
"""

from typing import Annotated

from ops.cli.account import INSPECTORS
from ops.cli.argument import Help, UsageProblem
from ops.cli.commands.operation import QUEUE
from ops.cli.commands.suspension import DELAY_S, GRACE_S, MOST_S, WAIT
from ops.cli.dialogue import Dialogue
from ops.cli.display import number
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

Hosts = Annotated[list[str] | None, Help("recipient domains, or ALL", "DOMAIN")]


def _hosts(words: list[str] | None) -> list[str] | None:
    """Give the domains, None for all."""
    names = [name.strip() for word in words or [] for name in word.split(",") if name.strip()]
    return None if not names or any(name.lower() == "all" for name in names) else names


def render_suspended(document: Document, width: int) -> str:
    """Say what is suspended now."""
    hosts = document.get("hosts") or []
    lines = ["Mail delivery suspended."] if document["state"] != "Online" else []
    if hosts:
        lines.append(f"Mail delivery suspended for: {', '.join(hosts)}.")
    cut = document.get("cut") or 0
    if cut:
        lines.append(f"{cut} connection{'' if cut == 1 else 's'} did not finish in time and were closed.")
    return "\n".join(lines)


def render_resumed(document: Document, width: int) -> str:
    """Say what goes on, and what does not."""
    resumed, left = document.get("resumed") or [], document.get("hosts") or []
    lines = [
        "Mail delivery resumed." if not document["partly"] else f"Mail delivery resumed for: {', '.join(resumed)}."
    ]
    if document["state"] != "Online":
        lines.append("Delivery as a whole is still suspended.")
    if left:
        lines.append(f"Still suspended: {', '.join(left)}.")
    return "\n".join(lines)


async def _ask_suspend(call: Call, dialogue: Dialogue) -> Document | None:
    hosts = await dialogue.ask("Enter one or more domains, separated by commas, to suspend delivery to.", "ALL")
    return {"hosts": [hosts], "seconds": await dialogue.number(WAIT, DELAY_S, MOST_S)}


@command(
    "suspenddel",
    "Suspend delivery, all of it or to some domains.",
    render=render_suspended,
    dialogue=_ask_suspend,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def suspenddel(
    call: Call,
    hosts: Hosts = None,
    *,
    seconds: Annotated[int, Help("time that open connections get to finish", "N", 0, MOST_S)] = DELAY_S,
) -> Document:
    """Mail is still received and queued. Stays in force over a restart, until `resumedel`."""
    document: Document = await call.appliance.ask(
        QUEUE, "suspend", GRACE_S + seconds, hosts=_hosts(hosts), delay_s=seconds
    )
    return {**document, "delay_s": seconds}


async def _ask_resume(call: Call, dialogue: Dialogue) -> Document | None:
    status: Document = await call.appliance.ask(QUEUE, "status")
    suspended = status.get("suspended_hosts") or []
    if not suspended:
        return {}
    dialogue.say(f"Delivery is suspended to: {', '.join(suspended)}")
    return {"hosts": [await dialogue.ask("Enter one or more domains, separated by commas, to resume.", "ALL")]}


@command(
    "resumedel",
    "Resume delivery, all of it or to some domains.",
    render=render_resumed,
    dialogue=_ask_resume,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def resumedel(call: Call, hosts: Hosts = None) -> Document:
    """Without domains everything goes on, what was suspended by name too."""
    names = _hosts(hosts)
    return {**await call.appliance.ask(QUEUE, "resume", hosts=names), "partly": names is not None}


def render_now(document: Document, width: int) -> str:
    """Say how many are tried now."""
    n = document["recipients"]
    if not n:
        return "No recipient waited for a later attempt. Hosts that were down are tried now."
    return f"{number(n)} recipient{'' if n == 1 else 's'} rescheduled for delivery now."


async def _ask_now(call: Call, dialogue: Dialogue) -> Document | None:
    options = ["By recipient host", "All messages", "By message ID"]
    place = await dialogue.choose("Please select what to deliver now:", options)
    if place == 1:
        return {"all_": True}
    question = "Please enter the recipient host." if place == 0 else "Please enter the MID."
    value = await dialogue.ask(question)
    return {"host" if place == 0 else "mid": value} if value else None


@command(
    "delivernow",
    "Try mail that waits for its next attempt at once.",
    render=render_now,
    dialogue=_ask_now,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def delivernow(
    call: Call,
    host: Annotated[str, Help("only this recipient domain", "DOMAIN")] = "",
    *,
    mid: Annotated[str, Help("only this message", "MID")] = "",
    all_: Annotated[bool, Help("everything; limits per interval begin anew as well")] = False,
) -> Document:
    """What is suspended stays suspended, what is held stays held (releasehold lets it go)."""
    if sum(map(bool, (host, mid, all_))) != 1:
        raise UsageProblem("say which, and one of them only: DOMAIN, --mid, or --all")
    name = host.strip().rstrip(".").lower()
    document: Document = await call.appliance.ask(
        QUEUE, "deliver_now", 60.0, host=name or None, mid=mid or None, all=all_ or None
    )
    return document


COMMANDS = (suspenddel, resumedel, delivernow)
