"""`service` on the operators' own SSH port: how support enters an appliance that has no internet.

Such an appliance has SSHACCESS on and is reached over the first one (`ssh -J`). A connection from one of the
configured hop sources begins like any operator's; when it names the user `service`, the rules of `login.py` take its
place. From anywhere else, or with any other user, nothing is different.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncssh

from tunnel.appliance.activation import SSHACCESS
from tunnel.identity import SERVICE_USER
from tunnel.service.access import Access
from tunnel.service.desk import Desk
from tunnel.service.hop import comes_from
from tunnel.service.login import ServiceServer

Guard = Callable[[], asyncssh.SSHServer]


def door(guard: Guard, access: Access, desk: Desk, sources: Sequence[str]) -> Guard:
    """Give the factory of a port's servers: operators' as `guard` makes them, and support's from these sources."""

    def service(source: str) -> ServiceServer | None:
        opened = access.opening()
        if opened is None or opened.mode != SSHACCESS or not comes_from(sources, source):
            return None
        return ServiceServer(access, desk)

    return lambda: _Door(guard(), service)


class _Door(asyncssh.SSHServer):
    """One connection, of an operator until it says `service`."""

    def __init__(self, operator: asyncssh.SSHServer, service: Callable[[str], ServiceServer | None]) -> None:
        self._operator = operator
        self._make = service
        self._service: ServiceServer | None = None
        self._now: asyncssh.SSHServer = operator

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._operator.connection_made(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._operator.connection_lost(exc)
        if self._service is not None:
            self._service.connection_lost(exc)

    def begin_auth(self, username: str) -> bool:
        # What one user name was allowed must not stand for the next.
        self._conn.set_authorized_keys(asyncssh.import_authorized_keys(""))
        self._now = self._operator
        if username == SERVICE_USER:
            peer = self._conn.get_extra_info("peername")
            if self._service is None and isinstance(peer, tuple) and (made := self._make(str(peer[0]))) is not None:
                made.connection_made(self._conn)
                self._service = made
            self._now = self._service or self._operator
        return bool(self._now.begin_auth(username))

    def auth_completed(self) -> Any:
        return self._now.auth_completed()

    def public_key_auth_supported(self) -> bool:
        return self._now.public_key_auth_supported()

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> Any:
        return self._now.validate_public_key(username, key)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> Any:
        return self._now.validate_ca_key(username, key)

    def password_auth_supported(self) -> bool:
        return self._now.password_auth_supported()

    def validate_password(self, username: str, password: str) -> Any:
        return self._now.validate_password(username, password)

    def rejected(self, certificate: asyncssh.SSHCertificate) -> None:
        told = getattr(self._now, "rejected", None)
        if told is not None:
            told(certificate)

    def proven(self, method: str) -> bool:
        asked = getattr(self._now, "proven", None)
        return asked is None or bool(asked(method))

    async def entering(self) -> None:
        asked = getattr(self._now, "entering", None)
        if asked is not None:
            await asked()

    def kbdint_auth_supported(self) -> Any:
        return self._now.kbdint_auth_supported()

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return self._now.get_kbdint_challenge(username, lang, submethods)

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        return self._now.validate_kbdint_response(username, responses)

    def session_requested(self) -> Any:
        return self._now.session_requested()

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool | Awaitable[asyncssh.SSHTCPSession[bytes]]:
        # From a second appliance there is no way on to a third.
        return False
