"""Whether the service account is open, and who has come in: the activation as the console sees it.

Logins (`login.py`) ask here; `desk.py` looks once a second. When access is disabled or enabled anew, everybody who
came in under the activation before is cut off. After too many failures the account closes itself, at once and on
disk, and the tunnel client is asked to disable remote access until it does.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from core import clock
from core.diagnostic import CRITICAL, say
from core.errors import GatepostError
from tunnel.appliance import activation
from tunnel.appliance.activation import Activation
from tunnel.identity import authorised
from tunnel.service.attempts import FILE_NAME, KEY, Attempts
from tunnel.service.notice import Notices
from tunnel.service.visitor import ServiceLogin

RETRY_DISABLE_S = 30.0
"""How long until ending remote access is tried again, if the tunnel client was away."""


class Connection(Protocol):
    """A connection that has logged in."""

    def cut(self, why: str) -> None:
        """End it with all that is open on it."""


class Access:
    """The service account of one appliance."""

    def __init__(
        self,
        name: str,
        activation_file: Path,
        notices: Notices,
        *,
        disable: Callable[[], Awaitable[Any]],
        now: clock.Clock = clock.now,
    ) -> None:
        self.attempts = Attempts(activation_file.with_name(FILE_NAME), now)
        self.in_force = ""
        """The activation that those who are in came in under."""
        self.ended: Callable[[str], None] = lambda _why: None
        """Told when all that goes on has to end."""
        self.name = name
        self._file = activation_file
        self._notices = notices
        self._disable = disable
        self._now = now
        self._connections: set[Connection] = set()
        self._disable_at = 0.0

    def opening(self) -> Activation | None:
        """Give the activation that is in force and open; None if nobody may come in."""
        try:
            found = activation.load(self._file)
        except GatepostError as error:
            say(CRITICAL, error.text)
            return None
        if not found.account_open(self._now()):
            return None
        self.attempts.begin(found.activation_id)
        return None if self.attempts.given_up else found

    def keys(self, opened: Activation) -> str:
        """Give the authorized_keys text of an activation: who its key has signed for, and the key itself."""
        own = [opened.service_key.strip()] if opened.service_key else []
        return authorised(own, self.name) + "".join(f"{key}\n" for key in own)

    def came(self, connection: Connection, login: ServiceLogin) -> None:
        """Somebody has logged in."""
        opened = self.opening()
        if opened is None:
            return
        if opened.activation_id != self.in_force:
            self.cut("remote access was enabled anew")
            self.in_force = opened.activation_id
        self._connections.add(connection)
        self._notices.note("service-login", f"support logged in: {login}, by {login.way}", **login.facts())

    def left(self, connection: Connection) -> None:
        """A connection that had logged in is gone."""
        self._connections.discard(connection)

    def refused(self, source: str, why: str) -> None:
        """Somebody was not let in."""
        text = f"service login refused from {source or 'the tunnel'}: {why}"
        self._notices.note("service-refused", text, source=source, why=why)

    async def failed(self, way: str, source: str) -> None:
        """Count a failed login; returns when that is on disk. May end remote access."""
        gave_up = self.attempts.given_up
        before = self.attempts.locked_until(way, source)
        locked = await self.attempts.failed(way, source)
        if locked > before:
            minutes = round((locked - self._now()) / 60)
            what = "keys of this origin" if way == KEY else "one-time passwords"
            text = f"service login: {what} are not taken for {minutes} minutes, after failures"
            self._notices.note("service-locked", text, source=source, way=way)
        if self.attempts.given_up and not gave_up:
            text = f"remote access is disabled after {self.attempts.failures} failed service logins"
            self._notices.alert("service-given-up", text, source=source)
            await self._give_up()

    async def look(self) -> None:
        """See whether access still is what it was."""
        opened = self.opening()
        if self.in_force and (opened is None or opened.activation_id != self.in_force):
            self.cut("remote access has ended")
            self.in_force = ""
        if self._disable_at and self._now() >= self._disable_at:
            await self._give_up()

    def cut(self, why: str) -> None:
        """End all that goes on, and every connection."""
        self.ended(why)
        for connection in tuple(self._connections):
            connection.cut(why)

    async def _give_up(self) -> None:
        self.cut("remote access has ended")
        try:
            await self._disable()
            self._disable_at = 0.0
        except GatepostError as error:
            say(CRITICAL, f"remote access could not be disabled yet: {error.text}")
            self._disable_at = self._now() + RETRY_DISABLE_S
