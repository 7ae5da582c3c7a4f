"""The outside mail host of the lab: an independent SMTP server (aiosmtpd) that stores a Maildir.

Each transaction becomes one file in `new/`, written in `tmp/` first: the lines `X-MailFrom: …` and `X-RcptTo: …`
(comma separated), then the content byte for byte as it came. Run as `python -m ops.lab.mailhost ADDRESS PORT DIR`.
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from core.runtime import run

_LIMIT = 64 * 1024 * 1024


class Store:
    """The handler that aiosmtpd calls; recipients named `refuse…` and `later…` are answered 550 and 450."""

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir
        self._number = itertools.count()
        for folder in ("tmp", "new", "cur"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Accept a recipient, or refuse the two kinds that tests ask for."""
        if address.startswith("refuse"):
            return "550 5.1.1 No such user here"
        if address.startswith("later"):
            return "450 4.2.1 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store one transaction."""
        name = f"{time.time_ns()}.{os.getpid()}_{next(self._number)}"
        sender = "" if envelope.mail_from in (None, "<>") else envelope.mail_from
        head = f"X-MailFrom: {sender}\r\nX-RcptTo: {', '.join(envelope.rcpt_tos)}\r\n".encode()
        content = envelope.content
        assert isinstance(content, bytes)
        temporary = self._maildir / "tmp" / name
        temporary.write_bytes(head + content)
        temporary.rename(self._maildir / "new" / name)
        return f"250 2.0.0 Ok: stored as {name}"


async def serve(host: str, port: int, maildir: Path) -> int:
    """Receive mail until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = Store(maildir)
    server = await loop.create_server(
        lambda: SMTP(store, hostname="mx.outside.test", data_size_limit=_LIMIT, enable_SMTPUTF8=True, loop=loop),
        host,
        port,
        backlog=512,
    )
    await stop.wait()
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
