"""Every test runs on the loop that the daemons use, and none keeps the rest waiting for ever."""

import asyncio
import faulthandler
import gc
from collections.abc import Callable, Iterator

import pytest
import uvloop

_PATIENCE_S = 120
"""How long a test may still take when its time is up and it was told so: to fail, and to clean up."""


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_finish() -> None:
    """Keep the collector from looking again and again at thousands of tests: a fifth of the unit tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End a process that stands still where no signal reaches Python (closing a loop, say): the others go on."""
    mark = item.get_closest_marker("timeout")
    limit_s = float(mark.args[0] if mark and mark.args else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit_s + _PATIENCE_S, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
