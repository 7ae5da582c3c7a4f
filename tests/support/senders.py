"""Hosts outside that have mail for a lab's gateway as long as a test runs, each on a connection after the other.

What the gateway refuses or breaks off is for the next connection; a third of the mail asks to be held.
"""

import contextlib
import smtplib
import threading
import time
from abc import ABC, abstractmethod
from typing import Self

from tests.support.lab import Lab

_PER_CONNECTION = 20


class Senders(ABC):
    """So many hosts; what one of them sends next is for a subclass to say."""

    def __init__(self, lab: Lab, hosts: int, pause_s: float) -> None:
        """`pause_s` is what a host waits between two messages."""
        host, _, port = lab.place("esa", "smtp").rpartition(":")
        self._place = host, int(port)
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(hosts)]

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for one in self._threads:
            one.join()

    @abstractmethod
    def send_next(self, client: smtplib.SMTP, host: int) -> None:
        """Send one message of a host. May raise what smtplib raises: the connection is left then."""

    def _run(self, host: int) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(*self._place, timeout=20) as client:
                for _ in range(_PER_CONNECTION):
                    self.send_next(client, host)
                    if self._stopping.wait(self._pause_s):
                        return
            time.sleep(0.05)


def recipient(host: int, number: int) -> str:
    """Give whom the message of a host is for."""
    return f"{'plain' if number % 3 else 'held'}-{host}-{number}@example.test"


def message(to: str, lines: int) -> str:
    """Give a message for a recipient, which the gateway holds if the name says so."""
    return f"Subject: {'[hold] ' if to.startswith('held') else ''}{to}\r\n\r\n" + "line of text\r\n" * lines
