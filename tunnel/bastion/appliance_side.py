"""What an appliance may do on the bastion: log in with its enrolled key and take its own name, nothing else.

No TCP port is opened: the forwarded name is an entry in `Presence`. Every other request is refused. Built by
`fronts.py`, one object per connection. Each refusal is an audit line.
"""

from collections.abc import Callable

import asyncssh

from core import clock
from core.runtime import spawn
from core.ssh import same_key
from tunnel.audit import AuditLog
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.registry import Registry
from tunnel.identity import SERVICE_PORT


class NameListener(asyncssh.SSHListener):
    """What asyncssh keeps in place of a listening socket; closing it gives the name back."""

    def __init__(self, left: Callable[[], None]) -> None:
        super().__init__()
        self._left = left

    def get_port(self) -> int:
        return SERVICE_PORT

    def close(self) -> None:
        """Give the name back. Must not raise: asyncssh would not clean up the connection then."""
        self._left()

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


class ApplianceServer(asyncssh.SSHServer):
    """One connection of an appliance."""

    def __init__(self, registry: Registry, presence: Presence, audit: AuditLog) -> None:
        self._registry = registry
        self._presence = presence
        self._audit = audit
        self._name = ""
        self._key = ""
        self._tunnel: Tunnel | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._source = str((conn.get_extra_info("peername") or ("",))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def begin_auth(self, username: str) -> bool:
        enrolled = self._registry.get(username)
        self._name, self._key = (enrolled.serial, enrolled.tunnel_key) if enrolled else ("", "")
        if enrolled is None:
            self._audit.note("refused", side="appliance", user=username[:64], source=self._source, why="not enrolled")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        good = bool(self._key) and username == self._name and same_key(self._key, key)
        if not good:
            self._audit.note(
                "refused", side="appliance", user=username[:64], source=self._source, why="not the enrolled key"
            )
        return good

    def server_requested(self, listen_host: str, listen_port: int) -> NameListener | bool:
        if listen_host != self._name or listen_port != SERVICE_PORT or self._tunnel is not None:
            self._audit.note(
                "refused",
                side="appliance",
                user=self._name,
                source=self._source,
                why=f"may not listen on {listen_host[:64]!r} port {listen_port}",
            )
            return False
        address = self._conn.get_extra_info("sockname") or ("", 0)
        tunnel = Tunnel(self._name, self._conn, self._source, int(address[1]), clock.now())
        self._tunnel = tunnel
        self._presence.take(tunnel)
        spawn(self._presence.prove_new(tunnel), f"first proof of {tunnel.name}")
        return NameListener(self._leave)

    def unix_server_requested(self, listen_path: str) -> bool:
        return self._refuse("a unix socket")

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return self._refuse(f"a connection to {dest_host[:64]!r} port {dest_port}")

    def unix_connection_requested(self, dest_path: str) -> bool:
        return self._refuse("a connection to a unix socket")

    def session_requested(self) -> bool:
        return self._refuse("a session")

    def tun_requested(self, unit: int | None) -> bool:
        return self._refuse("a network device")

    def tap_requested(self, unit: int | None) -> bool:
        return self._refuse("a network device")

    def _refuse(self, what: str) -> bool:
        self._audit.note("refused", side="appliance", user=self._name, source=self._source, why=f"may not have {what}")
        return False

    def _leave(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            self._presence.leave(tunnel)
