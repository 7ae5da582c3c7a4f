"""SMTP by hand against a listener that runs: a client that speaks line by line, and whether anybody listens."""

import asyncio


class SmtpClient:
    """One conversation; a reply of several lines counts as its last one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def hear(self) -> str:
        """Give the next reply."""
        async with asyncio.timeout(30):
            while (line := (await self.reader.readline()).decode())[3:4] == "-":
                pass
        return line.strip()

    async def say(self, text: str) -> str:
        """Send a line and give its reply."""
        self.writer.write(text.encode() + b"\r\n")
        return await self.hear()

    async def send(self, recipient: str = "a@example.test") -> str:
        """Send a small message; give the first reply that refuses, or the last one."""
        for line in ("EHLO c.test", "MAIL FROM:<s@c.test>", f"RCPT TO:<{recipient}>", "DATA"):
            answer = await self.say(line)
            if answer[0] not in "23":
                return answer
        return await self.say("Subject: hello\r\n\r\nx\r\n.")


async def refused(host: str, port: int) -> bool:
    """Tell whether nobody listens at a port."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    writer.transport.abort()
    return False
