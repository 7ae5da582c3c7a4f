"""Taking mail into quarantine, when something is in the way; test_transfer.py has the ordinary road."""

import asyncio
from pathlib import Path

import pytest

from core.errors import EX_TEMPFAIL, GatepostError
from core.record import CPQ_HOST
from cpq import hold
from tests.support.quarantine import courier, job, machines, quarantine

LARGE = b"Subject: large\r\n\r\n" + b"x" * 998 * 400


@pytest.mark.parametrize("content", [b"Subject: small\r\n\r\nx\r\n", LARGE], ids=["in memory", "spilled"])
async def test_a_message_that_gets_no_number_is_refused_and_comes_again(tmp_path: Path, content: bytes) -> None:
    """The session of a large one got no answer at all."""
    esa, sma = machines(tmp_path)
    in_the_way = sma.dir / "spool/ids/mid"
    in_the_way.mkdir()
    async with quarantine(sma) as held, courier(esa) as post:
        esa.paired_with(sma, held.listener.port)
        line = await post.open(CPQ_HOST, "")
        async with asyncio.timeout(10):
            (first,) = await line.send(job(content=content))
        assert (first.kind, first.code) == ("soft", 451)
        in_the_way.rmdir()
        (again,) = await line.send(job(content=content))
        assert again.kind == "delivered"
        await line.close()
    assert "message not numbered" in sma.logged()


async def test_a_database_that_is_busy_does_not_end_the_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the space that is used failed, and with it the daemon."""
    _, sma = machines(tmp_path)
    monkeypatch.setattr(hold, "_LOOK_AT_SPACE_S", 0.001)
    looked = asyncio.Event()

    async def busy() -> tuple[int, int]:
        looked.set()
        raise GatepostError("busy", EX_TEMPFAIL)

    async with quarantine(sma) as held:
        monkeypatch.setattr(held.store.catalogue, "held", busy)
        async with asyncio.timeout(10):
            await looked.wait()
        looked.clear()
        async with asyncio.timeout(10):
            await looked.wait()
        assert (await held.listener.status({}))["accepting"]
