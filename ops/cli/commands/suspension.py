"""`suspend`, `resume`, `suspendlistener`, `resumelistener`: taking parts of the machine out of service.

Open connections get the delay to finish. What is suspended stays so over a restart; the daemons keep that.
Choosing all listeners includes the hidden listener of the central quarantine.
"""

from typing import Annotated

from core.errors import EX_NOINPUT, GatepostError
from ops.cli.account import INSPECTORS
from ops.cli.appliance import Answer
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

HIDDEN = "cpq_listener"
DELAY_S = 30
MOST_S = 3600
GRACE_S = 15.0
WAIT = "Enter the number of seconds to wait before abruptly closing connections."


def _texts(document: Document, done: str) -> list[str]:
    lines = [f"Receiving {done} for {name}." for name in document["listeners"]]
    if document.get("delivery"):
        lines.append(f"Mail delivery {done}.")
    return lines + [f"Not reached: {name}: {reason}" for name, reason in document["failed"].items()]


def render_suspended(document: Document, width: int) -> str:
    """Say what was suspended."""
    return "\n".join(_texts(document, "suspended"))


def render_resumed(document: Document, width: int) -> str:
    """Say what was resumed."""
    return "\n".join(_texts(document, "resumed"))


def configured_listeners(call: Call) -> list[str]:
    """Give the names of the visible listeners, in the order of the configuration."""
    return [str(item.get("name", "")) for item in call.appliance.configuration().get("listener") or []]


async def _switch(
    call: Call, verb: str, daemons: tuple[str, ...], names: list[str] | None, delay_s: int | None
) -> Document:
    """Tell the daemons; names None means all listeners. Raises the first error if no daemon was reached."""
    told: dict[str, object] = {} if delay_s is None else {"delay_s": delay_s}
    wait_s = GRACE_S + (delay_s or 0)
    gateway = {**told, "listeners": names} if names is not None else told
    answers: list[Answer] = []
    if "gateway" in daemons:
        answers += await call.appliance.ask_each(["gateway"], verb, wait_s, **gateway)
    answers += await call.appliance.ask_each([name for name in daemons if name != "gateway"], verb, wait_s, **told)
    errors = [answer for answer in answers if answer.error is not None]
    if errors and len(errors) == len(answers):
        assert errors[0].error is not None
        raise errors[0].error
    reached = {answer.daemon for answer in answers if answer.error is None}
    listeners = [] if not any(name.startswith("gateway") for name in reached) else (names or configured_listeners(call))
    if "cpq-listener" in reached:
        listeners = [*listeners, HIDDEN]
    return {
        "listeners": listeners,
        "delivery": "delivery-queue" in reached,
        "failed": {answer.daemon: answer.error.text for answer in errors if answer.error is not None},
    }


_EVERYTHING = ("gateway", "cpq-listener", "delivery-queue")
_LISTENING = ("gateway", "cpq-listener")


async def _ask_delay(call: Call, dialogue: Dialogue) -> Document | None:
    return {"seconds": await dialogue.number(WAIT, DELAY_S, MOST_S)}


@command(
    "suspend",
    "Suspend all listeners and all delivery.",
    render=render_suspended,
    dialogue=_ask_delay,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def suspend(
    call: Call,
    seconds: Annotated[int, Help("time that open connections get to finish", least=0, most=MOST_S)] = DELAY_S,
) -> Document:
    """The machine stays suspended over a restart, until `resume`."""
    return {**await _switch(call, "suspend", _EVERYTHING, None, seconds), "delay_s": seconds}


@command(
    "resume",
    "Resume all listeners and all delivery.",
    render=render_resumed,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def resume(call: Call) -> Document:
    """Undoes `suspend` and `suspendlistener`."""
    return await _switch(call, "resume", _EVERYTHING, None, None)


def _chosen(call: Call, words: list[str] | None) -> tuple[tuple[str, ...], list[str] | None]:
    """Turn the listeners named into daemons to tell and names to give. Raises status 66 for an unknown one."""
    names = [name.strip() for word in words or ["All"] for name in word.split(",") if name.strip()]
    if any(name.lower() == "all" for name in names) or not names:
        return _LISTENING, None
    known = {name.lower(): name for name in configured_listeners(call)}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        there = ", ".join(["All", *known.values()])
        raise GatepostError(f"no listener is called {unknown[0]!r}; there are: {there}", EX_NOINPUT)
    return ("gateway",), [known[name.lower()] for name in names]


async def _ask_listeners(call: Call, dialogue: Dialogue) -> Document | None:
    options = ["All", *configured_listeners(call)]
    places = await dialogue.choose_several("Choose the listeners, separated by commas:", options)
    return {"listeners": ["All"] if 0 in places else [options[place] for place in places]}


async def _ask_listeners_and_delay(call: Call, dialogue: Dialogue) -> Document | None:
    chosen = await _ask_listeners(call, dialogue) or {}
    return {**chosen, "seconds": await dialogue.number(WAIT, DELAY_S, MOST_S)}


@command(
    "suspendlistener",
    "Suspend receiving on some or all listeners.",
    render=render_suspended,
    dialogue=_ask_listeners_and_delay,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def suspendlistener(
    call: Call,
    listeners: Annotated[list[str] | None, Help("names of listeners, or All", "LISTENER")] = None,
    *,
    seconds: Annotated[int, Help("time that open connections get to finish", "N", 0, MOST_S)] = DELAY_S,
) -> Document:
    """All, which is also the default, includes the hidden listener of the central quarantine."""
    daemons, names = _chosen(call, listeners)
    return {**await _switch(call, "suspend", daemons, names, seconds), "delivery": False, "delay_s": seconds}


@command(
    "resumelistener",
    "Resume receiving on some or all listeners.",
    render=render_resumed,
    dialogue=_ask_listeners,
    roles=INSPECTORS,
    machines=MAIL_MACHINES,
)
async def resumelistener(
    call: Call, listeners: Annotated[list[str] | None, Help("names of listeners, or All", "LISTENER")] = None
) -> Document:
    """All, which is also the default, includes the hidden listener of the central quarantine."""
    daemons, names = _chosen(call, listeners)
    return {**await _switch(call, "resume", daemons, names, None), "delivery": False}


_QUARANTINE = ("cpq-listener",)


@command(
    "suspendtransfers",
    "Take no more mail into the quarantine.",
    render=render_suspended,
    dialogue=_ask_delay,
    roles=INSPECTORS,
    machines=frozenset({"sma"}),
)
async def suspendtransfers(
    call: Call,
    seconds: Annotated[int, Help("time that open connections get to finish", least=0, most=MOST_S)] = DELAY_S,
) -> Document:
    """Gateways keep their mail meanwhile; released mail still goes out. It lasts over a restart."""
    return {**await _switch(call, "suspend", _QUARANTINE, None, seconds), "delivery": False, "delay_s": seconds}


@command(
    "resumetransfers",
    "Take mail into the quarantine again.",
    render=render_resumed,
    roles=INSPECTORS,
    machines=frozenset({"sma"}),
)
async def resumetransfers(call: Call) -> Document:
    """Undoes `suspendtransfers`."""
    return {**await _switch(call, "resume", _QUARANTINE, None, None), "delivery": False}


COMMANDS = (suspend, resume, suspendlistener, resumelistener, suspendtransfers, resumetransfers)
