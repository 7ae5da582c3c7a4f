"""Asking the tunnel client for what takes a while, and showing meanwhile how far it is.

Used by `techsupport probe` and `tunnel`. The words come from its status, which it gives while it works.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from core.clock import monotonic
from core.errors import GatepostError
from ops.cli.commands.support.state import CLIENT
from ops.cli.registry import Call, Document

_TICK_S = 0.5


async def asked(call: Call, verb: str, within_s: float, so_far: Callable[[Document], str], **args: Any) -> Document:
    """Ask for something, and show what `so_far` says of the status, and for how long it has been. Raises as `ask`."""
    begun = monotonic()
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(_answer(call, verb, within_s, **args))
        while not answer.done():
            await asyncio.wait([answer], timeout=_TICK_S)
            if not answer.done():
                words = so_far(await _status(call))
                call.progress(0, 0, f"{words}, {monotonic() - begun:.0f} s")
        call.progress(-1, 0, "")
    document = answer.result()
    if isinstance(document, GatepostError):
        raise document
    return document


async def _answer(call: Call, verb: str, within_s: float, **args: Any) -> Document | GatepostError:
    """Give the answer; what the tunnel client refuses with is a result, so that the task group does not wrap it."""
    try:
        return dict(await call.appliance.ask(CLIENT, verb, within_s, **args))
    except GatepostError as error:
        return error


async def _status(call: Call) -> Document:
    try:
        return dict(await call.appliance.ask(CLIENT, "techsupport_status"))
    except GatepostError:
        return {}
