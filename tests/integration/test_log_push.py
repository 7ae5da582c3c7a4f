"""Logs that leave the machine: saved files to OpenSSH's sshd with a pinned key, lines to syslog receivers."""

import asyncio
import os
import pwd
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from core import clock
from core.config.section import LogSection
from core.log.book import Logs
from core.log.config import LogSubscriptionSection, subscriptions_of
from core.log.file import LogFile, saved_files
from core.log.keeper import LogKeeper, due
from core.log.subscription import Subscription
from core.ssh.key import ensure_key, public_text
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.service import running
from tests.support.waiting import eventually, until

NOW = "Sun Nov 22 02:21:02 2026"
ME = pwd.getpwuid(os.getuid()).pw_name


class Site:
    """Logs with a keeper, and what it says."""

    def __init__(self, folder: Path, **row: object) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.alerts: list[tuple[str, str]] = []
        self.now: clock.Clock = clock.now
        self.logs = Logs(self.rows(**row), "", key=folder / "push_ed25519")

    def rows(self, **row: object) -> list[Subscription]:
        section = LogSubscriptionSection.model_validate({"name": "out", "type": "mail", **row})
        return subscriptions_of(self.folder / "log", LogSection(), [section])

    @property
    def one(self) -> Subscription:
        return next(one for one in self.logs.all() if one.name == "out")

    @property
    def file(self) -> LogFile:
        return self.logs.file_of(self.one)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Run the keeper as it runs in the console."""
        keeper = LogKeeper(
            self.logs,
            "esa.example.test",
            memory=self.folder / "logs.json",
            note=self.said.append,
            now=self.now,
        )
        keeper.alert = lambda about, text: self.alerts.append((about, text))
        async with running(keeper):
            yield


def line(text: str, level: str = "Info") -> bytes:
    return f"{NOW} {level}: {text}\n".encode()


@contextmanager
def sshd(folder: Path, port: int, *options: str) -> Iterator[str]:
    """Run sshd for the user that runs the tests; gives its host key."""
    Path("/run/sshd").mkdir(exist_ok=True)
    host = ensure_key(folder / "host_key")
    allowed = folder / "authorized_keys"
    allowed.write_text(public_text(ensure_key(folder / "push_ed25519")) + "\n")
    words = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", str(folder / "host_key"), "-p", str(port)]
    words += ["-o", "PidFile=none", "-o", "ListenAddress=127.0.0.1", "-o", f"AuthorizedKeysFile={allowed}"]
    words += ["-o", "StrictModes=no", "-o", "PasswordAuthentication=no", *options]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        eventually(lambda: _greets(port))
        yield public_text(host)
    finally:
        process.terminate()
        process.wait(60)


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


@pytest.mark.slow
@needs("sshd")
@pytest.mark.parametrize(
    "options",
    [("-o", "Subsystem=sftp internal-sftp"), ()],
    ids=["sftp", "scp"],
)
async def test_saved_files_arrive_whole_and_what_failed_comes_with_the_next(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    port, inbox = free_port(), tmp_path / "inbox"
    inbox.mkdir()
    host_key = public_text(ensure_key(tmp_path / "host_key"))
    way = {"retrieval": "scp", "host": "127.0.0.1", "port": port, "user": ME, "directory": str(inbox)}
    site = Site(tmp_path, **way, host_key=host_key)
    site.file.write(line("one"))
    async with site.kept():
        site.file.save()
        await until(lambda: any("could not be sent" in text for text in site.said))
        with sshd(tmp_path, port, *options):
            site.file.write(line("two"))
            site.file.save()
            await until(lambda: len(list(inbox.glob("*.s"))) == 2)
            await until(lambda: sum("was sent to" in text for text in site.said) == 2)
    for saved in saved_files(site.one.path):
        assert (inbox / saved.name).read_bytes() == saved.read_bytes()
    again = Site(tmp_path, **way, host_key=host_key)
    with sshd(tmp_path, port, *options):
        async with again.kept():
            again.file.write(line("three"))
            third = again.file.save()
            assert third is not None
            await until(lambda: again.said)
    assert [text.split()[1] for text in again.said] == [third.name], "what was sent is not sent once more"


@pytest.mark.slow
@needs("sshd")
async def test_a_host_with_another_key_gets_nothing(tmp_path: Path) -> None:
    port, inbox = free_port(), tmp_path / "inbox"
    inbox.mkdir()
    other = public_text(ensure_key(tmp_path / "other"))
    site = Site(tmp_path, retrieval="scp", host="127.0.0.1", port=port, user=ME, directory=str(inbox), host_key=other)
    site.file.write(line("one"))
    site.file.save()
    with sshd(tmp_path, port, "-o", "Subsystem=sftp internal-sftp"):
        async with site.kept():
            await until(lambda: site.said)
    assert "host key is not the pinned one" in site.said[0]
    await until(lambda: site.alerts)
    assert site.alerts == [("out", site.said[0])]
    assert list(inbox.iterdir()) == []


async def test_lines_go_to_a_syslog_host_by_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        site = Site(tmp_path, retrieval="syslog", host="127.0.0.1", port=receiver.getsockname()[1], facility="local1")
        site.file.write(line("before"))
        (tmp_path / "logs.json").write_text("")
        loop = asyncio.get_running_loop()
        async with site.kept(), asyncio.timeout(30):
            # The sender begins at the end of what there is, and that is written down now and then.
            await until(lambda: '"out"' in (tmp_path / "logs.json").read_text())
            site.file.write(line("MID 5 queued for delivery") + line("full", "Warning"))
            got = [await loop.sock_recv(receiver, 9000) for _ in range(2)]
    offset = time.strftime("%z", time.localtime(time.mktime(time.strptime(NOW, "%a %b %d %H:%M:%S %Y"))))
    stamp = f"2026-11-22T02:21:02{offset[:3]}:{offset[3:]}"
    assert got == [
        f"<142>1 {stamp} esa.example.test gatepost - out - MID 5 queued for delivery".encode(),
        f"<140>1 {stamp} esa.example.test gatepost - out - full".encode(),
    ]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_syslog_host_that_cannot_be_one_ends_nothing(tmp_path: Path, transport: str) -> None:
    """The look-up of such a name raised past the sender: the console ended, and could not be started again."""
    with pytest.raises(ValidationError, match="no host has such a name"):
        Site(tmp_path, retrieval="syslog", host="a..b", transport=transport)
    site = Site(tmp_path, retrieval="syslog", host="127.0.0.1", transport=transport)
    assert site.one.push is not None
    broken = replace(site.one, push=replace(site.one.push, host="a..b"))
    site.logs = Logs([broken], "", key=tmp_path / "push_ed25519")
    async with site.kept():
        await until(lambda: any("syslog to a..b:514" in text and "incident" in text for text in site.said))


async def test_a_syslog_host_that_was_away_gets_every_line_through_roll_overs_and_restarts(tmp_path: Path) -> None:
    port = free_port()
    way = {"retrieval": "syslog", "host": "127.0.0.1", "port": port, "transport": "tcp", "syslog_format": "bsd"}
    site = Site(tmp_path, **way)
    site.file.write(line("before"))
    async with site.kept():
        await until(lambda: any("fails" in text for text in site.said))
    got: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.readline():
            got.append(data)
        writer.close()

    for text in ("one", "two"):
        site.file.write(line(text))
        site.file.save()
    server = await asyncio.start_server(receive, "127.0.0.1", port)
    async with server:
        async with site.kept():
            site.file.write(line("three"))
            await until(lambda: len(got) >= 3)
        async with site.kept():
            site.file.write(line("four"))
            await until(lambda: len(got) >= 4)
    texts = [data.decode().strip().rpartition(": ")[2] for data in got]
    assert [text for text in texts if text != "before"] == ["one", "two", "three", "four"]
    assert got[-1].startswith(b"<22>Nov 22 02:21:02 esa.example.test out: Info: ")


async def test_the_keeper_rolls_a_log_over_whose_time_came_while_nobody_looked(tmp_path: Path) -> None:
    site = Site(tmp_path, rollover_every_s=3600)
    site.file.write(line("one"))
    noon = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
    site.now = lambda: noon + 1
    (tmp_path / "logs.json").write_text(f'{{"checked_at": {noon - 1}, "sent": {{}}, "places": {{}}}}')
    async with site.kept():
        await until(lambda: saved_files(site.one.path))
        site.file.write(line("two"))
    [saved] = saved_files(site.one.path)
    assert "Info: one\n" in saved.read_text()
    async with site.kept():  # that it has been done is remembered
        pass
    assert saved_files(site.one.path) == [saved]


def test_roll_overs_by_the_clock_come_once_and_after_a_rest(tmp_path: Path) -> None:
    hourly = Site(tmp_path, rollover_every_s=3600).one
    nightly = Site(tmp_path, rollover_at=["00:00", "12:30"]).one
    noon = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
    assert not due(hourly, noon + 1, noon + 3000)
    assert due(hourly, noon - 1, noon + 1)
    assert not due(hourly, 0.0, noon)  # never looked before: nothing is late
    assert not due(nightly, noon, noon + 1799)
    assert due(nightly, noon + 1799, noon + 1800)
    assert due(nightly, noon - 86400, noon)
    assert not due(nightly, noon + 1801, noon + 40_000)
