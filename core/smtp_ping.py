"""One test message to one mail host, step by step with the time each took: `diagnostic network smtpping`.

Goes past queue and routes, as alerts do, with aiosmtplib. Never raises for what the host does: a step that failed is
the last one and carries the reason.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiosmtplib


@dataclass(frozen=True)
class Letter:
    """What is sent."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    """Header and body, lines ended by CRLF."""


@dataclass(frozen=True)
class Way:
    """How the host is reached."""

    host: str
    """An address."""
    port: int
    hostname: str
    """The name that we give in EHLO."""
    source: str = ""
    """The address that we come from; '' = whichever the system takes."""
    timeout_s: float = 30.0
    """For each step."""


@dataclass(frozen=True)
class Step:
    """One step: what was asked, what came back, how long it took."""

    name: str
    code: int
    text: str
    took_ms: float
    failed: bool = False


Shown = Callable[[Step], None]


async def smtp_ping(way: Way, letter: Letter, shown: Shown) -> list[Step]:
    """Send the letter; `shown` gets each step as soon as it is done. The last one tells whether it went well."""
    test = _Test(way, shown)
    try:
        if await test.greeting():
            await test.letter(letter)
    finally:
        await test.leave()
    return test.steps


class _Test:
    def __init__(self, way: Way, shown: Shown) -> None:
        self._way = way
        self._shown = shown
        self._client = aiosmtplib.SMTP(
            hostname=way.host,
            port=way.port,
            local_hostname=way.hostname,
            source_address=(way.source, 0) if way.source else None,
            timeout=way.timeout_s,
            start_tls=False,
            validate_certs=False,
        )
        self.steps: list[Step] = []

    async def greeting(self) -> bool:
        """Connect, greet, and take TLS where it is offered."""
        client = self._client
        if not await self._step("CONNECT", client.connect) or not await self._step("EHLO", client.ehlo):
            return False
        if not client.supports_extension("starttls"):
            return True
        return await self._step("STARTTLS", client.starttls) and await self._step("EHLO", client.ehlo)

    async def letter(self, letter: Letter) -> None:
        """Send the envelope and the content."""
        client = self._client
        if not await self._step(f"MAIL FROM:<{letter.sender}>", lambda: client.mail(letter.sender, encoding="utf-8")):
            return
        for one in letter.recipients:
            if not await self._step(f"RCPT TO:<{one}>", lambda one=one: client.rcpt(one, encoding="utf-8")):  # type: ignore[misc]
                return
        await self._step("DATA", lambda: client.data(letter.content))

    async def leave(self) -> None:
        """Say good-bye where anybody listens."""
        if self._client.is_connected:
            if self.steps and not self.steps[-1].failed:
                await self._step("QUIT", self._client.quit)
            with suppress(Exception):  # whatever state it is in by now
                self._client.close()

    async def _step(self, name: str, act: Callable[[], Awaitable[Any]]) -> bool:
        begun, code, text, failed = time.monotonic(), 0, "", True
        try:
            async with asyncio.timeout(self._way.timeout_s):
                reply = await act()
            code, text, failed = int(reply.code), str(reply.message), False
        except aiosmtplib.SMTPResponseException as error:
            code, text = error.code, error.message
        except TimeoutError:
            text = f"no answer within {self._way.timeout_s:g} s"
        except (aiosmtplib.SMTPException, OSError) as error:
            text = str(error) or type(error).__name__
        step = Step(name, code, text, round((time.monotonic() - begun) * 1000, 1), failed)
        self.steps.append(step)
        self._shown(step)
        return not failed
