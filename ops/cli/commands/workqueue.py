"""`workqueue`: how much waits for the pipeline, at what rate it moves, and stopping it for a while.

Pausing stops processing only: mail is still received, and what is queued already is still delivered. The order stays in
force over a restart. Figures are added up over the gateway processes.
"""

import asyncio
from typing import Annotated, Any

from ops.cli.account import EVERYONE, INSPECTORS
from ops.cli.argument import Help, UsageProblem
from ops.cli.dialogue import Dialogue
from ops.cli.display import moment, number
from ops.cli.registry import Call, Command, Document, command

_HERE = frozenset({"esa"})
_GATEWAY = "gateway"


async def _each(call: Call, verb: str, **args: Any) -> Document:
    """Ask the gateways one after the other, since an order is one file for all of them; add up what they say."""
    total: Document = {}
    for path in call.appliance.sockets(_GATEWAY):
        found: Document = await call.appliance.ask_at(path, verb, **args)
        for name in ("messages", "in", "out"):
            found[name] += total.get(name, 0)
        total = found
    state = "Operational" if total["paused_by"] is None else "Paused"
    return {"status": state, **total}


def render(document: Document, width: int) -> str:
    """Show status and number of messages."""
    status = "Operational"
    if document["paused_by"] is not None:
        status = f"Paused by {document['paused_by']}: {document['reason'] or 'no reason given'}"
        status += f" (since {moment(document['paused_at'])})"
    return f"Status:   {status}\nMessages: {number(document['messages'])}"


@command("workqueue status", "Show the state of the work queue.", render=render, machines=_HERE)
async def status(call: Call) -> Document:
    """Messages that are accepted and not through the pipeline yet."""
    return await _each(call, "workqueue")


@command("workqueue pause", "Pause the work queue.", render=render, roles=INSPECTORS, machines=_HERE)
async def pause(
    call: Call,
    reason: Annotated[list[str] | None, Help("why, in words", "REASON")] = None,
    *,
    yes: Annotated[bool, Help("do it without a question")] = False,
) -> Document:
    """Mail is still received and answered, and delivered where it is queued already. Ends with `workqueue resume`."""
    if not yes:
        raise UsageProblem("say --yes to pause the work queue")
    return await _each(call, "workqueue_pause", who=call.caller.name, reason=" ".join(reason or []))


@command("workqueue resume", "Resume the work queue.", render=render, roles=INSPECTORS, machines=_HERE)
async def resume(call: Call) -> Document:
    """What has waited goes through the pipeline in the order of its arrival."""
    return await _each(call, "workqueue_resume")


def _row(sample: Document) -> str:
    cells = f"{number(sample['pending']):>10} {number(sample['in']):>8} {number(sample['out']):>8}"
    return f"{moment(sample['at']):<30} {cells}"


_HEAD = f"{'Time':<30} {'Pending':>10} {'In':>8} {'Out':>8}"


def render_rate(document: Document, width: int) -> str:
    """Show a row for each sample that was not shown while it was taken."""
    return "" if document["shown"] else "\n".join([_HEAD, *map(_row, document["samples"])])


@command("workqueue rate", "Show the rate of the work queue.", render=render_rate, machines=_HERE)
async def rate(
    call: Call,
    seconds: Annotated[int, Help("time between two rows", least=1, most=3600)] = 10,
    *,
    samples: Annotated[int, Help("how many rows", "N", 1, 100_000)] = 1,
) -> Document:
    """Messages that wait, and those that came in and went out since the row before."""
    before = await _each(call, "workqueue")
    rows: list[Document] = []
    call.show(_HEAD)
    for _ in range(samples):
        await asyncio.sleep(seconds)
        now = await _each(call, "workqueue")
        sample = {
            "at": call.appliance.now(),
            "pending": now["messages"],
            "in": now["in"] - before["in"],
            "out": now["out"] - before["out"],
        }
        call.show(_row(sample))
        rows.append(sample)
        before = now
    return {"samples": rows, "shown": True}


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    state: Document | None = None
    while True:
        state = state or await dialogue.perform("workqueue status", {})
        if state is None:
            return None
        operations = {"STATUS": "Display work queue status.", "RATE": "Display work queue statistics over time."}
        if state["paused_by"] is None:
            operations["PAUSE"] = "Pause the work queue."
        else:
            operations["RESUME"] = "Resume the work queue."
        chosen = await dialogue.menu(operations)
        if not chosen:
            return None
        state = await _perform(dialogue, chosen)


async def _perform(dialogue: Dialogue, chosen: str) -> Document | None:
    """Do it; gives the state if it has been shown."""
    if chosen == "PAUSE":
        if await dialogue.confirm("Manually pause work queue? This will only affect unprocessed messages."):
            reason = await dialogue.ask("Enter a reason why the work queue is being paused.")
            return await dialogue.perform("workqueue pause", {"reason": [reason], "yes": True})
    elif chosen == "RESUME":
        return await dialogue.perform("workqueue resume", {})
    elif chosen == "RATE":
        seconds = await dialogue.number("Enter the number of seconds between displays.", 10, 3600)
        dialogue.say("Hit Ctrl-C to return.")
        await dialogue.perform("workqueue rate", {"seconds": max(1, seconds), "samples": 100_000})
    return None


workqueue = Command(
    "workqueue",
    "Show, pause and resume the work queue.",
    run=None,
    dialogue=_menu,
    roles=EVERYONE,
    machines=_HERE,
)

COMMANDS = (workqueue, status, pause, resume, rate)
