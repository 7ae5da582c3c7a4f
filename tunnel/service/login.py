"""The SSH server of service logins: three ways in, and what one connection may open.

One object per connection, made by `endpoint.py` for the tunnel's socket and by `door.py` for the operators' port of
an appliance without internet. In comes only the user `service`, only while access is enabled: with a certificate
signed by the key that support derived from seed and serial, with that key itself, or with a one-time password. What
is counted and closed after failures is `attempts.py`.
"""

from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol

import asyncssh
from asyncssh.auth import KbdIntChallenge, KbdIntResponse

from core import clock
from core.runtime import spawn
from core.ssh import ServerConnection, certificate_facts, certificate_of, fingerprint, parse_public, signed_by
from tunnel.appliance.activation import Activation
from tunnel.identity import SERVICE_USER, engineer_of, unfit
from tunnel.service.access import Access
from tunnel.service.attempts import KEY as KEY_WAY
from tunnel.service.attempts import PASSWORD as PASSWORD_WAY
from tunnel.service.visitor import KEY, PASSWORD, ServiceLogin

PASSWORD_TRIES = 3
"""Wrong passwords after which a connection is closed."""
SESSIONS_PER_CONNECTION = 100
"""How many sessions one connection may open in its life."""

Session = tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]


class Sessions(Protocol):
    """What a connection needs of the desk."""

    def session(self, login: ServiceLogin) -> asyncssh.SSHServerSession[bytes]:
        """Give the session of a channel."""

    def hop(self, login: ServiceLogin, host: str, port: int) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Connect to another appliance. Raises ChannelOpenError if that may not be."""


class ServiceServer(asyncssh.SSHServer):
    """One connection for service."""

    def __init__(self, access: Access, desk: Sessions) -> None:
        self._access = access
        self._desk = desk
        self._source = ""
        self._activation: Activation | None = None
        self._login: ServiceLogin | None = None
        self._password = 0
        self._wrong = 0
        self._why = ""
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        peer = conn.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._source = str(peer[0])

    def connection_lost(self, exc: Exception | None) -> None:
        tried = self._conn.failures if isinstance(self._conn, ServerConnection) else 0
        if self._login is not None:
            self._access.left(self)
        elif self._wrong or tried or self._why:
            self._access.refused(self._source, self._why or "no key that is good here")
            if tried and not self._wrong and self._activation is not None:
                spawn(self._access.failed(KEY_WAY, self._source), "failed service login")

    def begin_auth(self, username: str) -> bool:
        self._activation, self._why = None, ""
        text = ""
        if username != SERVICE_USER:
            self._why = "another user than service"
        elif (opened := self._access.opening()) is None:
            self._why = "remote access is not enabled"
        else:
            self._activation = opened
            text = self._keys(opened)
        # Whatever was set for another user name before must not stand.
        self._conn.set_authorized_keys(asyncssh.import_authorized_keys(text))
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        opened = self._activation
        return opened is not None and bool(self._access.attempts.passwords_left(opened.passwords))

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> KbdIntChallenge:
        return "", "", "", [("One-time password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: KbdIntResponse) -> bool:
        opened, attempts = self._activation, self._access.attempts
        if opened is None or len(responses) != 1:
            return False
        if attempts.locked_until(PASSWORD_WAY, self._source):
            self._why = "passwords are locked after failures"
        else:
            try:
                self._password = await attempts.redeem(opened.passwords, responses[0])
            except OSError as error:
                self._why = f"that a password is spent cannot be kept: {error.strerror}"
                return False
            if self._password:
                return True
            self._why = "wrong password"
            await self._access.failed(PASSWORD_WAY, self._source)
        self._wrong += 1
        if self._wrong >= PASSWORD_TRIES:
            raise asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many failures")
        return False

    def auth_completed(self) -> None:
        self._login = self._who()
        if self._login is not None:
            self._access.came(self, self._login)

    def session_requested(self) -> Session:
        self._sessions += 1
        if self._sessions > SESSIONS_PER_CONNECTION:
            raise _closed("too many sessions")
        login = self._admitted()
        return self._conn.create_server_channel(encoding=None), self._desk.session(login)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        self._sessions += 1
        if self._sessions > SESSIONS_PER_CONNECTION:
            raise _closed("too many sessions")
        return self._desk.hop(self._admitted(), dest_host, dest_port)

    def limited(self, rule: str, why: str) -> None:
        """Hear of what the connection was refused (core/ssh/accepted.py)."""
        self._why = self._why or why

    def rejected(self, certificate: asyncssh.SSHCertificate) -> None:
        """Say to the holder of a certificate of this activation what is wrong with it (core/ssh/accepted.py)."""
        opened = self._activation
        if opened is None or not opened.service_key or not signed_by(certificate, opened.service_key):
            return
        if why := unfit(certificate_facts(certificate), self._access.name):
            self._why = why
            with suppress(OSError):
                self._conn.send_auth_banner(f"{why}\r\n")

    def cut(self, why: str) -> None:
        """End the connection with all that is open on it."""
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, why)

    def _keys(self, opened: Activation) -> str:
        if self._access.attempts.locked_until(KEY_WAY, self._source):
            self._why = "keys are locked after failures"
            return ""
        return self._access.keys(opened)

    def _who(self) -> ServiceLogin | None:
        """Name who logged in, by the way that was taken in the end and not by what was only offered before."""
        now, opened = clock.now(), self._activation
        if self._password:
            number = f"password {self._password}"
            return ServiceLogin("support", "", number, False, now, 0.0, PASSWORD, self._source)
        if not self._conn.get_key_option("principals"):
            print_ = fingerprint(parse_public(opened.service_key)) if opened else ""
            return ServiceLogin("support", "", print_, False, now, 0.0, KEY, self._source)
        facts = certificate_of(self._conn)
        engineer = engineer_of(facts) if facts else None
        if engineer is None:
            self._why = "a certificate that names no engineer"
            return None
        name, case = engineer.name, engineer.case
        return ServiceLogin(name, case, engineer.key_id, engineer.relayed, now, engineer.until_at, source=self._source)

    def _admitted(self) -> ServiceLogin:
        opened = self._access.opening()
        same = opened is not None and self._activation is not None
        if self._login is None or not same or opened.activation_id != self._activation.activation_id:  # type: ignore[union-attr]
            raise _closed("service access is not open for you")
        return self._login


def _closed(why: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
