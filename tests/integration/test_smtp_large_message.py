"""A message of 50 MiB in lines of ten octets costs no memory to speak of and never holds the loop."""

import json
import smtplib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LINES = b"12345678\r\n" * 26_214
PIECES = 200
"""Times a quarter of a MiB."""


def by_data(client: smtplib.SMTP) -> None:
    client.docmd("DATA")
    for _ in range(PIECES):
        client.send(LINES)
    client.send(b".\r\n")
    assert client.getreply() == (250, f"{PIECES * len(LINES)} octets".encode())


def by_chunk(client: smtplib.SMTP) -> None:
    client.putcmd(f"BDAT {PIECES * len(LINES)} LAST")
    for _ in range(PIECES):
        client.send(LINES)
    assert client.getreply() == (250, f"{PIECES * len(LINES)} octets".encode())


@pytest.mark.slow
@pytest.mark.parametrize("send", [by_data, by_chunk])
def test_a_large_message_is_streamed(send: Callable[[smtplib.SMTP], None], tmp_path: Path) -> None:
    report = receive(tmp_path, send)
    assert report["turns"] > 100
    assert report["grown_kib"] < 8 * 1024
    # The CPU time of the loop's thread is what we held it for, whatever else this machine was doing.
    assert report["longest_cpu_s"] < 0.050
    assert report["wall_p99_s"] < 0.050
    assert list(tmp_path.iterdir()) == []


def receive(folder: Path, send: Callable[[smtplib.SMTP], None]) -> dict[str, Any]:
    """Send one message to a listener in a child process and give its report."""
    command = [sys.executable, "-m", "tests.support.smtp_child", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        with smtplib.SMTP("127.0.0.1", int(child.stdout.readline()), timeout=60) as client:
            client.sendmail("warm@client.test", ["b@example.test"], "x" * 2_000_000)
            client.mail("begin@client.test")
            client.rcpt("b@example.test")
            send(client)
            client.sendmail("report@client.test", ["b@example.test"], "x")
            report: dict[str, Any] = json.loads(child.stdout.readline())
        child.wait(timeout=30)
    return report
