"""`tail`: the end of a log, and what comes, through roll-overs, until Ctrl-C."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from core.errors import EX_TEMPFAIL, GatepostError
from core.log.event import LONGEST_LINE
from core.log.follow import Follower
from core.log.reading import last_lines
from core.log.subscription import Subscription
from ops.cli.argument import Help
from ops.cli.commands.log.choice import ask_for_log, chosen, off_loop
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command

_LOOK_S = 0.25
_MOST_BEHIND = 1 << 20
"""Octets behind which a reader that is slower than the log gives up reading all of it."""
_AT_ONCE = 1 << 16


async def waited(call: Call) -> None:
    """Wait while the caller does not read what is shown. Raises status 75 after as long as a session may be idle."""
    try:
        await call.drained()
    except TimeoutError:
        raise GatepostError("what was to be shown was not read", EX_TEMPFAIL) from None


def _any(_line: bytes) -> bool:
    return True


async def follow(call: Call, one: Subscription, fits: Callable[[bytes], bool] = _any) -> Document:
    """Show lines as they come, for ever; without anybody who sees them, nothing."""
    if not call.watched:
        return {"log": one.name, "lines": []}
    follower = await off_loop(lambda: Follower(one.path))
    call.show("Press Ctrl-C to stop.")
    try:
        while True:
            data = await off_loop(lambda: follower.read(_AT_ONCE))
            for line in data.splitlines():
                if fits(line):
                    call.show(line[:LONGEST_LINE].decode("utf-8", "replace"))
            await waited(call)
            await asyncio.sleep(_LOOK_S if len(data) < _AT_ONCE // 2 else 0.05)
            if (octets := await off_loop(follower.behind)) > _MOST_BEHIND:
                await off_loop(follower.skip)
                call.show(f"[{octets:,} octets are not shown: they came faster than they can be shown]")
    finally:
        follower.close()


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    log = await ask_for_log(call, dialogue, "Enter the number of the log you wish to tail.")
    return {"log": log} if log else None


def _render(document: Document, width: int) -> str:
    return "\n".join(document["lines"])


@command("tail", "Show the end of a log and what comes.", render=_render, dialogue=_ask)
async def tail(
    call: Call,
    log: Annotated[str, Help("name of the log", "LOG")],
    *,
    lines: Annotated[int, Help("lines of what is there", "N", least=0, most=10_000, short="n")] = 10,
    once: Annotated[bool, Help("end after those")] = False,
) -> Document:
    """Goes on until Ctrl-C, in the next file when this one is rolled over. With --json only what is there."""
    one = chosen(call, log)
    found = [
        line[:LONGEST_LINE].decode("utf-8", "replace") for line in await off_loop(lambda: last_lines(one.path, lines))
    ]
    if once or not call.watched:
        return {"log": one.name, "lines": found}
    for line in found:
        call.show(line)
    return await follow(call, one)


COMMANDS = (tail,)
