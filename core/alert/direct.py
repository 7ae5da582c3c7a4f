"""The direct path: one message to one recipient, past queue and journal, over SMTP.

For alerts, and for what an operator sends off at once (`mailconfig`, `supportrequest`). Straight to the configured
host or to the mail exchangers of the recipient's domain. The only module that touches aiosmtplib beside the lab. Never
raises: what went wrong is the answer, and a line in the log for each host.
"""

import asyncio
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

import aiosmtplib

from core.alert.config import AlertsSection
from core.dns import DnsError, Resolver
from core.maillog import Log, clean

_HOSTS: Final = 5


class DirectPath:
    """Sends by the section [alerts] as it is at the time."""

    def __init__(self, section: AlertsSection, *, hostname: str, resolver: Resolver, log: Log | None = None) -> None:
        self.section = section
        self._hostname = hostname
        self._resolver = resolver
        self._log = log

    @property
    def sender(self) -> str:
        """The envelope sender."""
        return self.section.sender or f"alert@{self._hostname}"

    def message(self, recipient: str, subject: str, text: str, *, who: str = "alerts") -> EmailMessage:
        """Make a message of text; control characters are shown, not sent."""
        message = EmailMessage()
        message["From"] = f"Gatepost {who} <{self.sender}>"
        message["To"] = recipient
        message["Subject"] = clean(subject)
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = make_msgid(domain=self._hostname)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(clean(text, None, lines=True))
        return message

    async def send(self, message: EmailMessage, recipient: str) -> str:
        """Try each host once; give '' when one has taken it, else why the last one did not."""
        reason = "no mail host"
        for host, port in await self._hosts(recipient):
            reason = await self._attempt(message, recipient, host, port)
            if not reason:
                return ""
            self._note(f"Failed to send message to host {host}:{port} for recipient {recipient}: {clean(reason)}")
        return reason

    async def _attempt(self, message: EmailMessage, recipient: str, host: str, port: int) -> str:
        timeout_s = self.section.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await aiosmtplib.send(
                    message,
                    sender=self.sender,
                    recipients=[recipient],
                    hostname=host,
                    port=port,
                    local_hostname=self._hostname,
                    validate_certs=False,  # opportunistic: an alert matters more than who might read it
                    timeout=timeout_s,
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            return f"{error.recipients[0].code} {error.recipients[0].message}"
        except aiosmtplib.SMTPResponseException as error:
            return f"{error.code} {error.message}"
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    async def _hosts(self, recipient: str) -> list[tuple[str, int]]:
        section = self.section
        if section.host:
            return [(section.host, section.port)]
        domain = recipient.rpartition("@")[2]
        try:
            found = await self._resolver.mx(domain)
        except DnsError as error:
            self._note(clean(str(error)))
            return []
        names = [one.host for one in found.records if one.host != "."] if found.records else [domain]
        return [(address, section.port) for name in names[:_HOSTS] for address in await self._addresses(name)][:_HOSTS]

    def _note(self, text: str) -> None:
        if self._log is not None:
            self._log.info(f"Internal SMTP Error: {text}")

    async def _addresses(self, name: str) -> tuple[str, ...]:
        try:
            return (await self._resolver.addresses(name)).records
        except DnsError:
            return ()
