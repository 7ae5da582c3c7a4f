"""`commit` broken off at every named point, and daemons that refuse, hang or die: all of the old, or all of the new."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from core.control import call
from core.disk import Disk
from core.errors import ConfigError, GatepostError
from ops.configuration.commit import Wish
from ops.configuration.handover import Answer, Handover
from ops.configuration.place import Place, Tables
from tests.support.committing import DAEMONS, Site
from tests.support.waiting import until

BEFORE = ("commit.candidate", "commit.prepared", "commit.version", "commit.confirmation")
AFTER = ("commit.renamed", "commit.applied", "commit.counted", "commit.dropped")
POINTS = (*BEFORE, *AFTER)
WISH = Wish("local")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("c") / "esa")
    try:
        site.start(*DAEMONS)
        yield site
    finally:
        site.stop()


@pytest.fixture
async def site(machine: Site) -> AsyncIterator[Site]:
    await machine.ready(*DAEMONS)
    await machine.editing().clear()
    machine.place.disk = Disk()
    yield machine
    await machine.editing().clear()


def route(name: str) -> str:
    return f'[[route]]\ndomain = "{name}.example"\nhosts = ["127.0.0.1:{os.getpid() % 1000 + 1000}"]\n'


async def load(site: Site, name: str) -> None:
    def edit(tables: Tables) -> None:
        tables["route"] = [{"domain": f"{name}.example", "hosts": ["127.0.0.1:99"]}]

    await site.editing().change(f"route {name}", edit)


def domains(site: Site) -> list[str]:
    return [row["domain"] for row in site.tables.get("route", [])]


async def settled(site: Site) -> None:
    async def clean() -> bool:
        return not site.committer().left_over and not site.place.candidate.exists()

    await site.until(clean)  # by the console, which looks every second
    await site.until(site.agrees)


@pytest.mark.parametrize("point", POINTS)
async def test_a_commit_that_is_killed_leaves_the_old_or_the_new(site: Site, point: str) -> None:
    old = site.config.read_bytes()
    name = point.replace(".", "-")
    loaded = await asyncio.to_thread(site.cli, "loadconfig", "-", stdin=route(name))
    assert loaded.returncode == 0, loaded.stderr
    killed = await asyncio.to_thread(site.cli, "commit", kill_at=point)
    assert killed.returncode == -signal.SIGKILL, killed
    if point in BEFORE:
        assert site.config.read_bytes() == old
        assert site.editing().pending
    else:
        assert domains(site) == [f"{name}.example"]
    assert "# Written by hand.\n[[listener]]" in site.config.read_text()
    await settled(site)
    await site.editing().clear()
    checked = await asyncio.to_thread(site.cli, "commitdetail", "--json")
    assert (f"{name}.example" in checked.stdout) == (point in AFTER)


async def test_a_commit_reaches_every_daemon(site: Site) -> None:
    await load(site, "everywhere")
    done = await site.committer().commit("local", WISH)
    assert done is not None
    states = {one.daemon: one.state for one in done.daemons}
    assert [states[name] for name in ("gateway-0", "delivery-queue", "console")] == ["in force"] * 3
    assert states["web"] == "absent"
    assert await site.agrees()
    log = site.folder / "log" / "mail_logs" / "mail.current"
    await until(lambda: "routes" in log.read_text())


async def test_what_one_daemon_refuses_no_daemon_has(site: Site) -> None:
    old = site.config.read_bytes()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        await site.editing().change("listener", lambda tables: tables["listener"][0].update(port=port))
        with pytest.raises(ConfigError) as refused:
            await site.committer().commit("local", WISH)
    assert "gateway-0" in refused.value.text
    assert str(port) in refused.value.text
    assert site.config.read_bytes() == old
    assert await site.agrees()
    assert not await site.held()
    assert site.editing().pending


async def test_a_daemon_that_hangs_is_named_and_nothing_changes(site: Site) -> None:
    old = site.config.read_bytes()
    await load(site, "hanging")
    site.signal("delivery-queue", signal.SIGSTOP)
    try:
        with pytest.raises(ConfigError, match=r"delivery-queue: delivery-queue did not answer within [56]"):
            await site.committer(patience_s=5.0).commit("local", WISH)
    finally:
        site.signal("delivery-queue", signal.SIGCONT)
    assert site.config.read_bytes() == old
    await site.until(site.agrees)


class Murderous(Handover):
    """Kills a daemon that has prepared before it can apply."""

    site: Site

    async def apply(self, token: str, digest: str) -> list[Answer]:
        await asyncio.to_thread(self.site.signal, "delivery-queue", signal.SIGKILL)
        return await super().apply(token, digest)


async def test_a_daemon_that_dies_before_it_applies_takes_the_new_at_its_start(site: Site) -> None:
    await load(site, "dying")
    Murderous.site = site
    done = await site.committer(Murderous).commit("local", WISH)
    assert done is not None
    assert {one.daemon: one.state for one in done.daemons}["delivery-queue"] == "absent"
    assert domains(site) == ["dying.example"]
    site.start("delivery-queue")
    await site.ready("delivery-queue")
    assert await site.agrees()


class Stunning(Handover):
    """Has a daemon that has prepared hang when it should apply."""

    site: Site

    async def apply(self, token: str, digest: str) -> list[Answer]:
        self.site.signal("delivery-queue", signal.SIGSTOP)
        return await super().apply(token, digest)


async def test_a_daemon_that_hangs_while_it_applies_is_called_late_and_comes_after(site: Site) -> None:
    await load(site, "late")
    Stunning.site = site
    try:
        done = await site.committer(Stunning, patience_s=5.0).commit("local", WISH)
    finally:
        site.signal("delivery-queue", signal.SIGCONT)
    assert done is not None
    states = {one.daemon: one.state for one in done.daemons}
    assert (states["delivery-queue"], states["gateway-0"]) == ("late", "in force")
    assert domains(site) == ["late.example"]
    await site.until(site.agrees)


class Paralysed(Handover):
    """Never tells the daemons to apply, as a console that is gone."""

    async def apply(self, token: str, digest: str) -> list[Answer]:
        return []


async def test_daemons_that_are_not_told_go_by_the_file_after_a_restart(site: Site) -> None:
    await load(site, "untold")
    await site.committer(Paralysed).commit("local", WISH)
    assert not await site.agrees()
    for name in DAEMONS:
        site.signal(name, signal.SIGTERM)
        site.signal(name, signal.SIGKILL)
    site.start(*DAEMONS)
    await site.ready(*DAEMONS)
    assert await site.agrees()


class FullDisk(Disk):
    """Has no room from the n-th write on."""

    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, buffers, offset)


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_full_disk_changes_nothing(site: Site, writes: int) -> None:
    await load(site, f"full{writes}")
    old = site.config.read_bytes()
    place = Place(site.config, FullDisk(writes))
    with pytest.raises(GatepostError, match="No space left on device"):
        await site.committer(place=place).commit("local", WISH)
    assert site.config.read_bytes() == old
    assert not await site.held()
    assert not site.committer().left_over
    done = await site.committer().commit("local", WISH)
    assert done is not None
    assert domains(site) == [f"full{writes}.example"]


async def test_two_editors_are_merged_or_the_second_is_told(site: Site) -> None:
    first, second = site.editing(), site.editing()
    second.login = "second"
    await load(site, "first")
    await second.change("dns", lambda tables: tables.setdefault("dns", {}).update(timeout_s=9))
    await site.committer().commit("local", WISH)
    done = await site.committer().commit("second", Wish("second"))
    assert done is not None
    assert done.merged_with == ("route",)
    assert domains(site) == ["first.example"]
    assert site.tables["dns"]["timeout_s"] == 9
    await second.change("route", lambda tables: tables["route"].append({"domain": "s.example", "hosts": ["[::1]"]}))
    await load(site, "mine")
    await site.committer().commit("second", Wish("second"))
    with pytest.raises(GatepostError) as told:
        await site.committer().commit("local", WISH)
    assert told.value.status == 65
    assert "by second (version" in told.value.text
    assert "route" in told.value.text
    assert first.pending


async def test_a_commit_while_another_is_under_way_is_told_so(site: Site) -> None:
    await load(site, "alone")
    lock = site.place.kept / "lock"
    with site.place.locked(lock), pytest.raises(GatepostError, match="another commit is under way"):
        await site.committer().commit("local", WISH)


async def test_what_is_not_confirmed_goes_back_by_itself(site: Site) -> None:
    await load(site, "kept")
    await site.committer().commit("local", WISH)
    kept = site.config.read_bytes()
    await load(site, "trial")
    done = await site.committer().commit("local", Wish("local", confirm_s=0.5))
    assert done is not None
    assert {one.daemon: one.state for one in done.daemons}["gateway-0"] == "in force"
    assert "trial.example" in site.committer().versions.text(done.version.number)

    async def back() -> bool:
        return site.config.read_bytes() == kept

    await site.until(back)
    await site.until(site.agrees)


async def test_a_console_that_was_away_goes_back_when_it_is_here_again(site: Site) -> None:
    kept = site.config.read_bytes()
    site.signal("console", signal.SIGKILL)
    await load(site, "away")
    await site.committer().commit("local", Wish("local", confirm_s=0.0))
    assert domains(site) == ["away.example"]
    site.start("console")

    async def back() -> bool:
        return site.config.read_bytes() == kept

    await site.until(back)
    await site.ready("console")
    await site.until(site.agrees)


async def test_what_is_confirmed_stays(site: Site) -> None:
    await load(site, "confirmed")
    await site.committer().commit("local", Wish("local", confirm_s=60.0))
    done = await site.committer().commit("local", WISH)
    assert done is not None
    assert done.confirmed
    assert not (site.place.kept / "confirm.json").exists()
    assert domains(site) == ["confirmed.example"]
    assert await site.agrees()


async def test_without_a_console_a_trial_is_refused(site: Site) -> None:
    await load(site, "refused")
    site.signal("console", signal.SIGKILL)
    refused = await asyncio.to_thread(site.cli, "commit", "confirmed", "1")
    site.start("console")
    assert refused.returncode == 69
    assert "needs the console" in refused.stderr


async def test_a_connection_outlives_a_commit(site: Site) -> None:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.smtp)
        assert (await reader.readline()).startswith(b"220 ")
        await load(site, "connected")
        await site.committer().commit("local", WISH)
        writer.write(b"NOOP\r\n")
        assert (await reader.readline()).startswith(b"250 ")
        writer.close()
    assert await call(site.socket("gateway"), "configuration_state") == {"digest": site.digest, "held": False}
