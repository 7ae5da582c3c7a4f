"""Waiting for what must come: the one way in which a test gives daemons, threads and other machines their time.

A test never sleeps and hopes, and asks at once only about what the answer it has had promises. Everything else is
waited for here: `until` in a coroutine, `eventually` where there is no loop. Both give the first true value.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast

T = TypeVar("T")
PATIENCE_S = 30.0
"""What a loaded machine may need for anything that takes milliseconds on an idle one."""

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.004, 0.1
"""Looks come soon at first, for what is a matter of milliseconds, and more and more rarely. After a look that takes
long, as one by a command does, others have the processor for as long."""


async def until(
    check: Callable[[], T | Awaitable[T]],
    what: object = "",
    *,
    within_s: float = PATIENCE_S,
    despite: tuple[type[Exception], ...] = (),
) -> T:
    """Wait until `check`, which may be awaitable, gives something true, and give that.

    `despite`: what `check` may raise while it is too early. `what` is told when it never comes; a function is called
    only then: for a log, say.
    """
    deadline = time.monotonic() + within_s
    last: object = None
    pauses = _pauses()
    try:
        async with asyncio.timeout(within_s + PATIENCE_S) as limit:  # a look that hangs ends as well
            while True:
                began = time.monotonic()
                try:
                    value = check()
                    found = cast("T", await value if inspect.isawaitable(value) else value)
                except despite as error:
                    last = error
                else:
                    if found:
                        return found
                    last = found
                if time.monotonic() >= deadline:
                    break
                await asyncio.sleep(max(next(pauses), min(1.0, time.monotonic() - began)))
    except TimeoutError as error:
        if not limit.expired():
            raise  # the look's own
        last = error
    raise AssertionError(_never(check, what, within_s, last))


def eventually(
    check: Callable[[], T],
    what: object = "",
    *,
    within_s: float = PATIENCE_S,
    despite: tuple[type[Exception], ...] = (),
) -> T:
    """Wait as `until` does, outside a loop. A look that hangs is the look's own to end."""
    deadline = time.monotonic() + within_s
    pauses = _pauses()
    while True:
        last: object
        began = time.monotonic()
        try:
            if found := check():
                return found
            last = found
        except despite as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(_never(check, what, within_s, last))
        time.sleep(max(next(pauses), min(1.0, time.monotonic() - began)))


def _pauses() -> Iterator[float]:
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 1.3, _LAST_PAUSE_S)


def _never(check: Callable[[], Any], what: object, within_s: float, last: object) -> str:
    """Say what was awaited in vain."""
    said = what() if callable(what) else what
    if not said:
        said = getattr(check, "__qualname__", repr(check))
        with suppress(OSError, TypeError):  # a bound method of a compiled class has no source
            said = " ".join(inspect.getsource(check).split())
    return f"not within {within_s:g} s: {said} (last: {last!r})"
