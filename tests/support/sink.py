"""A real mail host (aiosmtpd) that keeps what comes, for tests of mail that goes past the queue."""

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator
from typing import Any

from aiosmtpd.smtp import SMTP

from tests.support.waiting import until


class Inbox:
    """An aiosmtpd handler that keeps what comes; `answers` are given first, one a message."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.messages: list[Any] = []
        self.envelopes: list[tuple[str, list[str]]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = self.answers.pop(0) if self.answers else "250 kept"
        if not answer.startswith("2"):
            return answer
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        return answer

    async def until(self, count: int) -> None:
        """Wait until so many messages have come."""
        await until(lambda: len(self.messages) >= count, f"{count} messages", within_s=60)


@contextlib.asynccontextmanager
async def receiving(inbox: Inbox, within_s: float = 120) -> AsyncIterator[int]:
    """Run the host on a free port of 127.0.0.1, and give the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, hostname="in.test", loop=loop), "127.0.0.1", 0)
    try:
        async with asyncio.timeout(within_s):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
