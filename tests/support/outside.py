"""An outside host that sends mail until it is told to stop: `python -m tests.support.outside HOST:PORT WORD FILE [N]`.

Each message has a recipient of its own, `WORD-NUMBER@example.test`; FILE gets a line for each that was answered 250,
as soon as it was. A connection that breaks or is refused is made again; what got no 250 is not sent again. It ends
after N messages, or with SIGTERM.
"""

import itertools
import os
import signal
import smtplib
import sys
import time
from pathlib import Path

_PAUSE_S = 0.02


def content_of(recipient: str) -> bytes:
    """Give a message that only its recipient determines."""
    return f"Subject: for {recipient}\r\n\r\n.{recipient}\r\n".encode() + b"0123456789abcdef\r\n" * 200


def send(place: str, word: str, out: Path, count: int) -> None:
    """Send until all is sent or somebody ends this process."""
    host, _, port = place.rpartition(":")
    numbers = iter(range(count)) if count else itertools.count()
    with out.open("a", buffering=1) as accepted:
        while True:
            try:
                with smtplib.SMTP(host, int(port), local_hostname="client.outside.test", timeout=20) as client:
                    for number in numbers:
                        to = f"{word}-{number}@example.test"
                        client.sendmail("someone@outside.test", [to], content_of(to))
                        accepted.write(f"{to}\n")
                        time.sleep(_PAUSE_S)
                    return
            except (OSError, smtplib.SMTPException) as error:
                print(f"{time.time():.3f} {error}", flush=True)
                time.sleep(_PAUSE_S)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # what an exception would do, QUIT could undo
    send(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
