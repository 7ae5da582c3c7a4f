"""Orders of an operator on real daemons: counters, what `status` says is suspended, held mail, connections cut."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator

import pytest

from core.journal import Journal, JournalSettings
from core.record import Accepted, Recipient, encode
from mail.pipeline import Notes, held
from tests.integration.test_delivery_tables import Gateway, outside_host, route
from tests.integration.test_queue_verbs import Console, fill
from tests.support.lab import short_folder
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    with short_folder() as folder:
        yield (one := Console(Gateway(folder / "esa")))
        await one.gateway.kill()


async def delivered(console: Console, host: str) -> int:
    return int((await console.document("hoststatus", host))["counters"]["delivered_recips"])


async def test_resetcounters_begins_anew_in_every_daemon_and_for_every_destination(console: Console) -> None:
    """Uptime and lifetime stay; counts by destination outlive a kill and are since the reset."""
    async with outside_host() as host:
        console.gateway.configure(route(host.port))
        await console.gateway.start()
        assert "Last counter reset:            Never" in (await console.batch("status")).out
        await fill(console, *[("a@here.test", [f"r{n}@there.test"], "s") for n in range(3)])
        await until(lambda: len(host.seen) == 3, "delivered")
        await until(lambda: _completed(console, 3), "counted")
        before = await console.document("status")
        for name in ("inj_msgs", "inj_recips", "delivered_recips", "completed_recips"):
            assert before["counters"][name] == {"reset": 3, "uptime": 3, "lifetime": 3}
        assert await delivered(console, "there.test") == 3
        begun_at = time.time()
        reset = await console.document("resetcounters")
        assert set(reset["failed"]) <= {"cpq-listener"}, "which does not run here"
        after = await console.document("status")
        for name in ("inj_msgs", "inj_recips", "delivered_recips", "completed_recips"):
            assert after["counters"][name] == {"reset": 0, "uptime": 3, "lifetime": 3}
        assert await delivered(console, "there.test") == 0
        assert begun_at <= after["counters_reset_at"] <= reset["reset_at"]
        line = next(one for one in (await console.batch("status")).out.splitlines() if "Last counter reset" in one)
        assert "Never" not in line

        await fill(console, ("a@here.test", ["x@there.test"], "s"))
        await until(lambda: len(host.seen) == 4, "one more")
        await until(lambda: _on_disk(console, "there.test") == 1, "a checkpoint takes the counts along now and then")
        await console.gateway.restart("delivery-queue")  # SIGKILL
        assert await delivered(console, "there.test") == 1


def _on_disk(console: Console, host: str) -> int:
    """Give what the queue's index says was delivered to a destination."""
    index = f"file:{console.gateway.dir}/spool/queue/queue.db?mode=ro"
    with contextlib.closing(sqlite3.connect(index, uri=True, timeout=20)) as queue:
        rows = queue.execute("SELECT delivered FROM tally WHERE destination = ?", (host,)).fetchall()
    return sum(delivered for (delivered,) in rows)


async def _completed(console: Console, n: int) -> bool:
    counters = (await console.gateway.ask("status"))["counters"]
    return bool(counters.get("completed_recips", {}).get("lifetime") == n)


async def test_status_says_what_is_suspended_by_whom_and_why(console: Console) -> None:
    console.gateway.configure('[[route]]\ndomain = "ALL"\nhosts = ["127.0.0.1:9"]\n')
    await console.gateway.start()
    quiet = await console.document("status")
    assert quiet["suspended"] == {"listeners": [], "hosts": [], "work_queue": None}
    assert quiet["troubles"] == []
    for words in (
        ("suspenddel", "held.test", "kept.test"),
        ("suspendlistener", "InboundMail", "--seconds", "0"),
        ("workqueue", "pause", "new", "scanner", "--yes"),
    ):
        assert (await console.batch(*words)).status == 0
    closed = (await console.document("status"))["suspended"]
    assert (closed["hosts"], closed["listeners"]) == (["held.test", "kept.test"], ["InboundMail"])
    assert (closed["work_queue"]["paused_by"], closed["work_queue"]["reason"]) == ("local", "new scanner")
    shown = (await console.batch("status")).out
    assert "Delivery suspended for:        held.test, kept.test\n" in shown
    assert "Receiving suspended for:       InboundMail\n" in shown
    assert "Work queue:                    Paused by local: new scanner (since " in shown
    for words in (("resumedel",), ("resumelistener",), ("workqueue", "resume")):
        assert (await console.batch(*words)).status == 0
    assert "suspended for:" not in (await console.batch("status")).out


async def test_a_message_whose_pipeline_failed_waits_until_it_is_released(console: Console) -> None:
    async with outside_host() as host:
        console.gateway.configure(route(host.port))
        await leave_held(console, 4711)
        await console.gateway.start()
        await until(lambda: _held(console, 1), "in the hold queue")
        rule = (await console.document("hoststatus", "the.hold.queue"))["limiting_rule"]
        assert "never attempted; release or delete it" in rule
        dry = await console.document("releasehold", "--all", "--dry-run")
        assert (dry["messages"], dry["recipients"]) == (1, 1)
        assert not host.seen
        await console.gateway.restart("delivery-queue")
        await until(lambda: _held(console, 1), "still there after a kill")
        done = await console.document("releasehold", "--all", "--yes")
        assert (done["state"], done["recipients"]) == ("done", 1)
        await until(lambda: host.of("x@there.test"), "delivered")
        await until(lambda: _held(console, 0), "empty")
        assert len(host.seen) == 1


async def _held(console: Console, n: int) -> bool:
    return await console.active("the.hold.queue") == n


async def leave_held(console: Console, mid: int) -> None:
    """Leave in the gateway's journal what a pipeline that raised leaves there."""
    journal = Journal.open(
        console.gateway.dir / "spool" / "journal" / "gateway-0", JournalSettings(segment_bytes=1 << 20, reserve_bytes=0)
    )
    content = journal.content()
    content.write(b"Subject: x\r\n\r\nbody\r\n")
    accepted = Accepted(mid, 1, time.time(), "a@here.test", [Recipient(0, "x@there.test")], 20)
    outcome = held(accepted, Notes(), "internal error, incident 5e5e5e")
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    journal.append(mid, encode(accepted), content, encode(outcome), told.set_result)
    assert await told is None
    journal.close()


async def test_connections_to_a_suspended_host_are_cut_when_the_seconds_are_up(console: Console) -> None:
    """The host never answers the content; the message stays in the queue."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 slow\r\n")
        try:
            while line := await reader.readline():
                if line.upper().startswith(b"DATA"):
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    began.set()
                    await reader.read()  # nothing is answered until the other side goes
                    return
                writer.write(b"250 ok\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            ended.set()
            writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    async with server:
        console.gateway.configure(route(server.sockets[0].getsockname()[1]))
        await console.gateway.start()
        await fill(console, ("a@here.test", ["x@slow.test"], "s"))
        async with asyncio.timeout(30):
            await began.wait()
        started = time.monotonic()
        document = await console.document("suspenddel", "slow.test", "--seconds", "2")
        took = time.monotonic() - started
        assert document["cut"] == 1
        assert 2 <= took < 30
        async with asyncio.timeout(30):
            await ended.wait()
        await until(lambda: _queued(console), "kept for later")
        await until(lambda: _unconnected(console, "slow.test"), "the connection is gone here as well")


async def _unconnected(console: Console, host: str) -> bool:
    return bool((await console.document("hoststatus", host))["gauges"]["conn_out"] == 0)


async def _queued(console: Console) -> bool:
    return await console.active("slow.test") == 1
