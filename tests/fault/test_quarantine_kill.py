"""Killing either side of the quarantine channel at every named point: each message is there exactly once.

The process that is killed is real and its files are what a restart finds. What was under way is tried again with the
same transfer ids, as the queue does.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from core.journal import Journal, Tail
from core.record import CPQ_HOST, RELEASE_HOST, decode_accepted, decode_outcome
from cpq.exchange.store import OwedIds
from cpq.held import Search
from cpq.locate import Location
from cpq.store import SqliteStore
from protocol.errors import TemporaryFailure
from tests.support.quarantine import CONTENT, Job, Machine, courier, gateway, job, machines, quarantine
from tests.support.quarantine_child import MESSAGES

pytestmark = pytest.mark.slow

STORING = (
    "quarantine.content.written",
    "quarantine.files.synced",
    "quarantine.take.before-commit",
    "quarantine.taken",
)
RESUMING = ("quarantine.resumed.journal", "quarantine.taken.before-commit", "quarantine.resumed.known")
RELEASING = (
    "quarantine.apply.before-commit",
    "quarantine.handed-over.journal",
    "quarantine.handed-over.before-commit",
    "quarantine.handed-over",
    "quarantine.content.removed",
)
SENDING = ("quarantine.acknowledged", "quarantine.owed.before-commit", "quarantine.owed")


def command(what: str, folder: Path, *rest: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.quarantine_child", what, str(folder), *rest]


@contextmanager
def child(what: str, folder: Path, kill_at: str = "") -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a listening side; gives its port."""
    process = subprocess.Popen(
        command(what, folder), stdout=subprocess.PIPE, env={**os.environ, "GATEPOST_KILL_AT": kill_at}
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def post_all(machine: Machine, port: int, destination: str) -> list[str]:
    """Send every message once over a new line each, as a queue would; gives what became of them."""
    kinds = []
    async with courier(machine, Location("ESA-1", "127.0.0.1", port) if machine.role == "sma" else None) as post:
        for mid in MESSAGES:
            kinds.append(await post_one(post, destination, message(mid, destination)))
    return kinds


async def post_one(post: object, destination: str, one: Job) -> str:
    try:
        line = await post.open(destination, "ESA-1" if destination == RELEASE_HOST else "")  # type: ignore[attr-defined]
    except TemporaryFailure:
        return "soft"
    (result,) = await line.send(one)
    await line.close()
    return str(result.kind)


def message(mid: int, destination: str) -> Job:
    return job(mid, CONTENT + b"%d" % mid, destination=destination)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", STORING)
async def test_the_management_host_dies_while_it_stores(tmp_path: Path, point: str, count: int) -> None:
    esa, sma = machines(tmp_path)
    with child("hold", tmp_path, f"{point}:{count}") as (port, process):
        esa.paired_with(sma, port)
        kinds = await post_all(esa, port, CPQ_HOST)
        assert process.wait(60) == -signal.SIGKILL
    assert "soft" in kinds
    with child("hold", tmp_path) as (port, _):
        esa.paired_with(sma, port)
        assert await post_all(esa, port, CPQ_HOST) == ["delivered"] * 3
    async with quarantine(sma) as held:
        found = {one.origin_mid: one for one in await held.store.catalogue.find(Search())}
        assert sorted(found) == [1, 2, 3]
        for mid, one in found.items():
            assert b"".join(held.folder.chunks(one.id)) == CONTENT + b"%d" % mid
        files = {path.name for path in (sma.dir / "spool/content").rglob("*") if path.is_file()}
        assert files == {one.id for one in found.values()}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", RESUMING)
async def test_the_gateway_dies_while_it_takes_mail_back(tmp_path: Path, point: str, count: int) -> None:
    esa, sma = machines(tmp_path)
    with child("resume", tmp_path, f"{point}:{count}") as (port, process):
        kinds = await post_all(sma, port, RELEASE_HOST)
        assert process.wait(60) == -signal.SIGKILL
    assert "soft" in kinds
    with child("resume", tmp_path) as (port, _):
        assert await post_all(sma, port, RELEASE_HOST) == ["delivered"] * 3
    async with gateway(esa) as back:
        taken = [(accepted.transfer.peer_mid, content) for accepted, _, content in back.accepted() if accepted.transfer]
    assert sorted(taken) == [(mid, CONTENT + b"%d" % mid) for mid in MESSAGES]


@asynccontextmanager
async def three_held(esa: Machine, sma: Machine) -> AsyncIterator[None]:
    async with quarantine(sma) as held:
        esa.paired_with(sma, held.listener.port)
        assert await post_all(esa, held.listener.port, CPQ_HOST) == ["delivered"] * 3
    yield


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", RELEASING)
async def test_release_host_dies_between_decision_and_queue(tmp_path: Path, point: str, count: int) -> None:
    esa, sma = machines(tmp_path)
    async with three_held(esa, sma):
        pass
    environment = {**os.environ, "GATEPOST_KILL_AT": f"{point}:{count}"}
    run = await asyncio.create_subprocess_exec(*command("release", tmp_path), env=environment)
    once = point in ("quarantine.apply.before-commit", "quarantine.content.removed")
    assert await run.wait() == (0 if once and count == 2 else -signal.SIGKILL)
    for _ in range(2):
        run = await asyncio.create_subprocess_exec(*command("release", tmp_path))
        assert await run.wait() == 0
    journal = Journal.open(sma.dir / "spool/journal/release-host")
    entries = Tail(journal.directory).read()
    journal.close()
    assert sorted((one.data or b"")[len(CONTENT) :] for one in entries) == [b"1", b"2", b"3"]
    assert len({decode_outcome(one.outcome).transfer_id for one in entries}) == 3
    assert {decode_accepted(one.accepted).origin_serial for one in entries} == {"ESA-1"}
    store = SqliteStore(sma.dir / "quarantine.db")
    assert await store.catalogue.find(Search()) == []
    assert await store.outbox.leaving(10) == []
    assert await store.outbox.removals(10) == []
    store.close()
    assert [path for path in (sma.dir / "spool/content").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", SENDING)
async def test_the_sender_dies_after_it_was_told_250(tmp_path: Path, point: str, count: int) -> None:
    esa, sma = machines(tmp_path)
    async with quarantine(sma) as held:
        port = str(held.listener.port)
        environment = {**os.environ, "GATEPOST_KILL_AT": f"{point}:{count}"}
        run = await asyncio.create_subprocess_exec(*command("send", tmp_path, port), env=environment)
        assert await run.wait() == -signal.SIGKILL
        run = await asyncio.create_subprocess_exec(*command("send", tmp_path, port))
        assert await run.wait() == 0
        assert sorted(one.origin_mid for one in await held.store.catalogue.find(Search())) == [1, 2, 3]
    owed = OwedIds(esa.dir / "state/settle.db")
    assert sorted(mid for _, mid in await owed.open()) == [1, 2, 3]
    owed.close()
