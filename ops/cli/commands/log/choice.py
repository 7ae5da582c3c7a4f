"""Which log is meant, and who may read it: shared by the commands about logs."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from core.errors import EX_CONFIG, EX_NOINPUT, EX_NOPERM, EX_SOFTWARE, GatepostError
from core.log.book import Logs
from core.log.subscription import PRIVATE_TYPES, TYPES, Subscription
from ops.cli.account import Role
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call

_T = TypeVar("_T")
_RETRIEVAL = {"scp": "SCP Push", "syslog": "Syslog Push"}


def logs_of(call: Call) -> Logs:
    """Give the machine's logs. Raises status 78 where there are none."""
    if call.appliance.logs is None:
        raise GatepostError("the logs of this machine cannot be read here", EX_CONFIG)
    return call.appliance.logs


def readable(call: Call) -> list[Subscription]:
    """Give the logs that the caller may read, by name."""
    private = call.caller.role is not Role.GUEST
    return sorted(
        (one for one in logs_of(call).all() if private or one.type not in PRIVATE_TYPES), key=lambda one: one.name
    )


def chosen(call: Call, name: str) -> Subscription:
    """Find a log by its name or number. Raises status 66 or 77."""
    names = readable(call)
    for number, one in enumerate(names, 1):
        if name.lower() == one.name.lower() or name == str(number):
            return one
    if any(name.lower() == one.name.lower() for one in logs_of(call).all()):
        raise GatepostError(f"{name}: not for the role {call.caller.role}", EX_NOPERM)
    raise GatepostError(f"no log {name!r}; there are: {', '.join(one.name for one in names)}", EX_NOINPUT)


async def ask_for_log(call: Call, dialogue: Dialogue, question: str, default: str = "") -> str:
    """Show the logs and have one chosen by its number or name; '' if none is."""
    dialogue.say("\nCurrently configured logs:")
    for number, one in enumerate(readable(call), 1):
        way = _RETRIEVAL.get(one.push.method, "") if one.push else "Manual Download"
        dialogue.say(f'{number}. "{one.name}" Type: "{TYPES[one.type][0]}" Retrieval: {way}')

    async def attempt() -> str:
        answer = await dialogue.ask(question, default)
        return chosen(call, answer).name if answer else ""

    return await dialogue.until_right(attempt)


async def off_loop(work: Callable[[], _T]) -> _T:
    """Do something with files in a thread. Raises status 70 with the reason of the system."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise GatepostError(f"{error.filename or 'the log'}: {error.strerror or error}", EX_SOFTWARE) from error
