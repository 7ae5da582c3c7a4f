"""What the kernel sees of a real gateway: no `250` for content before the journal's sync has returned.

strace follows every thread. Each `write` or `sendmsg` of the client's socket that says the message was taken must come
after an fdatasync of the journal's segment, by descriptor, that began after that message's record was written there.
"""

import asyncio
import os
import re
import signal
import smtplib
import subprocess
from pathlib import Path

import pytest

from tests.support.load import Sink, road
from tests.support.need import needs
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, needs("strace")]
CALLS = "pwritev,pwrite64,pwritev2,fdatasync,fsync,write,writev,sendto,sendmsg"
CALL = re.compile(r"^(\d+) +(\d+\.\d+) (?:<\.\.\. )?(\w+)(\(| resumed>)(.*)$")
SEGMENT = re.compile(r"<[^>]*\.(?:segment|spare)>")
ACCEPTED = re.compile(r"250 2\.0\.0 Ok:  Message \d+ accepted")
MESSAGES = 12


class Order:
    """Goes through the calls in the order in which they began or returned."""

    def __init__(self) -> None:
        self.written: set[str] = set()
        """Messages with a record in a segment that no sync covers yet."""
        self.syncing: dict[str, set[str]] = {}
        """By thread: what the sync that is under way covers."""
        self.durable: set[str] = set()
        self.answered: list[str] = []
        self.asked: list[str] = []

    def take(self, line: str) -> None:
        match = CALL.match(line)
        if match is None:
            return
        thread, _, call, how, rest = match.groups()
        if call.startswith("pwrite") and how == "(" and SEGMENT.search(rest):
            self.written |= {mark for mark in re.findall(r"X-Mark: (m\d+)\.", rest)}
        elif call == "fdatasync":
            self._sync(thread, how, rest)
        elif ACCEPTED.search(rest):
            self.answered.append(rest)
            assert len(self.durable) >= len(self.answered), f"250 before the sync had returned: {line}"

    def _sync(self, thread: str, how: str, rest: str) -> None:
        if how == "(":
            if not SEGMENT.search(rest):
                return
            self.syncing[thread] = set(self.written)
        if "= 0" in rest and thread in self.syncing:
            self.durable |= self.syncing.pop(thread)


def send_all(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=60) as client:
        for number in range(MESSAGES):
            text = f"X-Mark: m{number}.\r\nSubject: traced\r\n\r\nbody\r\n"
            assert client.sendmail("a@client.test", ["b@example.test"], text) == {}


def traced(pid: int, tracer: int) -> bool:
    """Tell whether a process traces every thread of another."""
    threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all(f"TracerPid:\t{tracer}\n" in status for status in threads)


async def test_the_kernel_has_returned_from_the_sync_before_250_is_written(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with road(tmp_path / "esa", Sink()) as whole:
        await whole.gateway.start()
        await whole.gateway.until_ready()
        argv = ["strace", "-f", "-y", "-s", "1200", "-ttt", "-e", f"trace={CALLS}", "-o", str(trace)]
        with subprocess.Popen([*argv, "-p", str(whole.gateway.pid)], stderr=subprocess.DEVNULL) as tracer:
            try:
                await until(lambda: traced(whole.gateway.pid, tracer.pid), "strace follows every thread")
                await asyncio.to_thread(send_all, whole.port)
            finally:
                os.kill(tracer.pid, signal.SIGINT)
    order = Order()
    for line in trace.read_text().splitlines():
        order.take(line)
    assert len(order.answered) == MESSAGES, "the 250s were not seen"
    assert len(order.durable) == MESSAGES, "the records were not seen"
