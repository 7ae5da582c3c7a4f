"""What is told to a service manager that does not listen, or that says nonsense."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from core.service_manager import ServiceManager


def waiting(sock: socket.socket) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield sock.recv(1000)


def test_a_manager_that_takes_nothing_is_not_waited_for_and_hears_all_that_counts_later(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"})
        for number in range(5000):  # more than any queue of the kernel's; a write that waited would never come back
            manager.tell(f"STATUS={number}")
        manager.ready()
        for _ in range(100):
            manager.alive()
        sock.setblocking(False)
        assert all(one.startswith(b"STATUS=") for one in waiting(sock))
        manager.status("ready")
        assert list(waiting(sock))[-3:] == [b"READY=1", b"WATCHDOG=1", b"STATUS=ready"]


def test_a_manager_that_is_gone_or_cannot_be_keeps_nobody_up(tmp_path: Path) -> None:
    for place in (str(tmp_path / "nobody"), "@nobody", "vsock:2:1", "/" + "x" * 200, "\udc80", str(tmp_path)):
        manager = ServiceManager({"NOTIFY_SOCKET": place})
        manager.ready()
        manager.status("\udc80 of a file's name")


@pytest.mark.parametrize("text", ["", "x", "-5", "1e9", "²", "1" * 5000, " 7"])
def test_a_watchdog_that_makes_no_sense_is_none(text: str) -> None:
    assert ServiceManager({"WATCHDOG_USEC": text}).watchdog_s == 0
    assert ServiceManager({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": text or "x"}).watchdog_s == 0
    assert ServiceManager({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 3
