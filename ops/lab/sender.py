"""The outside client of the lab: sends messages over a few kept SMTP connections, with aiosmtplib."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiosmtplib

from core.errors import EX_TEMPFAIL, GatepostError

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Letter:
    """One message and its envelope."""

    sender: str
    recipients: Sequence[str]
    content: bytes


async def send_all(
    host: str, port: int, letters: Sequence[Letter], sent: Callable[[], None], connections: int = 4
) -> None:
    """Send every letter; `sent` is called after each `250`. Raises status 75 when one is refused."""
    queue = list(reversed(letters))

    async def work() -> None:
        async with aiosmtplib.SMTP(
            hostname=host, port=port, start_tls=False, timeout=_TIMEOUT_S, local_hostname="client.outside.test"
        ) as client:
            while queue:
                await _send(client, queue.pop())
                sent()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(work())
    except ExceptionGroup as errors:  # `except*` would wrap what it raises into a group again
        first = errors.exceptions[0]
        if not isinstance(first, aiosmtplib.SMTPException | OSError):
            raise
        raise GatepostError(f"the gateway at {host}:{port} did not take a message: {first}", EX_TEMPFAIL) from None


async def _send(client: aiosmtplib.SMTP, letter: Letter) -> None:
    await client.mail(letter.sender)
    for recipient in letter.recipients:
        await client.rcpt(recipient)
    await client.data(letter.content)
