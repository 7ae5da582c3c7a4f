r"""Debug logs: what is said on chosen SMTP connections, octet by octet, for so many sessions.

Connections ask `InjectionDebug.begin` and `DomainDebug.begin` once, at their start, and only where there is such a
log at all; else nothing is looked at. Line ends are shown as `\015\012`, all that is not printable ASCII likewise. What
somebody logs in with is not shown. Each process counts its sessions for itself.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from core.log.book import Logs
from core.log.client import Clients
from core.log.subscription import DOMAIN_DEBUG, INJECTION_DEBUG, Subscription
from core.maillog import MailLog

PIECE: Final = 4000
"""Octets shown on one line at most."""
HIDDEN: Final = b"***"
_LOGIN = re.compile(rb"(?im)^AUTH[ \t]+[^ \t\r\n]+")
_SHOWN: Final = {
    byte: chr(byte) if 32 <= byte < 127 and byte != 0x5C else "\\\\" if byte == 0x5C else f"\\{byte:03o}"
    for byte in range(256)
}


def shown(data: bytes) -> str:
    """Show octets as printable ASCII."""
    return data.decode("latin-1").translate(_SHOWN)


class Named(Protocol):
    """What a client is known by: the address, and the name or ''."""

    @property
    def host(self) -> str: ...

    @property
    def name(self) -> str: ...


class Recording:
    """One conversation in one log or several. `number` gives the ICID or DCID."""

    def __init__(self, logs: Sequence[MailLog], number: Callable[[], int], whom: str = "") -> None:
        self._logs = logs
        self._number = number
        self._sent = f"Sent to '{whom}'" if whom else "Sent"
        self._received = f"Rcvd from '{whom}'" if whom else "Rcvd"
        self._begun = b""
        """The beginning of a line that might be a log-in."""
        self._secret = False
        self._tail = False
        """Whether the rest of a line is part of a log-in."""

    def sent(self, data: bytes) -> None:
        """Record what this side says."""
        self._rest()
        self._secret = data.rpartition(b"\n")[0].rpartition(b"\n")[2].startswith(b"334")
        self._write(self._sent, data)

    def received(self, data: bytes, *, content: bool = False) -> None:
        """Record what the peer says; of `content` no log-in is looked for."""
        if content:
            self._rest()
        elif self._secret:
            ended = b"\n" in data
            self._secret = not ended
            data = HIDDEN + (b"\r\n" if ended else b"")
        else:
            data, self._begun = self._begun + self._after_tail(data), b""
            line = data[data.rfind(b"\n") + 1 :]
            if line and b"AUTH".startswith(line[:4].upper()) and len(line) < PIECE:
                self._begun = line
                data = data[: len(data) - len(line)]
            data = self._hidden(data)
        if data:
            self._write(self._received, data)

    def end(self) -> None:
        """Record what was begun and not ended."""
        self._rest()

    def _rest(self) -> None:
        if self._begun:
            begun, self._begun = self._begun, b""
            self._write(self._received, self._hidden(begun))

    def _hidden(self, data: bytes) -> bytes:
        """Hide what comes with AUTH and, since a client may not wait for the answer, whatever comes behind it."""
        found = _LOGIN.search(data)
        if found is None:
            return data
        line, ended, behind = data[found.end() :].partition(b"\n")
        self._tail = not ended
        told = b" " + HIDDEN if line.strip() else b""
        return data[: found.end()] + told + (b"\r\n" if ended else b"") + (HIDDEN + b"\r\n" if behind else b"")

    def _after_tail(self, data: bytes) -> bytes:
        """Give what stands behind the end of a line that was hidden."""
        if not self._tail:
            return data
        _, ended, behind = data.partition(b"\n")
        self._tail = not ended
        return behind

    def _write(self, way: str, data: bytes) -> None:
        number = self._number()
        for at in range(0, len(data), PIECE):
            text = f"{number} {way}: '{shown(data[at : at + PIECE])}'"
            for log in self._logs:
                log.info(text)


class _Chosen:
    """One debug log and the sessions that it has left."""

    def __init__(self, subscription: Subscription, log: MailLog) -> None:
        self.subscription = subscription
        self.log = log
        self.left = subscription.sessions
        self.clients = Clients(subscription.clients)


class _Debug:
    """The debug logs of one type in this process."""

    type = ""

    def __init__(self, logs: Logs, flushed_with: MailLog) -> None:
        self._logs = logs
        self._flushed_with = flushed_with
        self._chosen: list[_Chosen] = []
        self.follow()
        logs.when_changed(self.follow)

    @property
    def active(self) -> bool:
        """Whether there is anything to record."""
        return bool(self._chosen)

    def follow(self) -> None:
        """Take the subscriptions that are in force; one that stays the same goes on counting."""
        before = {one.subscription: one for one in self._chosen}
        wanted = [one for one in self._logs.all() if one.type == self.type]
        for gone in before.keys() - set(wanted):
            before[gone].log.close()
            self._flushed_with.companions.remove(before[gone].log)
        self._chosen = [before.get(one) or self._made(one) for one in wanted]

    def _made(self, one: Subscription) -> _Chosen:
        log = self._logs.alone(one)
        self._flushed_with.companions.append(log)
        return _Chosen(one, log)

    def _take(self, wanted: Callable[[_Chosen], bool]) -> list[MailLog]:
        found = [one for one in self._chosen if one.left > 0 and wanted(one)]
        for one in found:
            one.left -= 1
            if not one.left:
                one.log.info(f"The last of {one.subscription.sessions} sessions begins")
        return [one.log for one in found]


class InjectionDebug(_Debug):
    """The injection debug logs of this process."""

    type = INJECTION_DEBUG

    def begin(self, peer: Named, number: Callable[[], int]) -> Recording | None:
        """Give the recording of a connection that begins, None for one that nobody asks for."""
        logs = self._take(lambda one: one.clients.has(peer.host, peer.name))
        return Recording(logs, number, peer.host) if logs else None


class DomainDebug(_Debug):
    """The domain debug logs of this process."""

    type = DOMAIN_DEBUG

    def begin(self, domain: str, dcid: int) -> Recording | None:
        """Give the recording of a connection for a recipient domain, None where nobody asks for it."""
        logs = self._take(lambda one: one.subscription.domain == domain)
        return Recording(logs, lambda: dcid) if logs else None
