"""What an appliance may do on the bastion: log in with its enrolled key, register, take its own name; nothing else.

No TCP port is opened: the forwarded name is an entry in `Presence`. Every other request is refused. Built by
`fronts.py`, one object per connection. Each refusal is counted, and an audit line once.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncssh

from core import clock
from core.database import DatabaseError
from core.metrics import Counters
from core.runtime import spawn
from core.ssh import same_key
from tunnel.audit import AuditLog
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.refusal import Refusals, Seldom, Strangers
from tunnel.bastion.registration import ControlSession, ControlTerms, Registration
from tunnel.bastion.store import Enrolled, Store
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


@dataclass(frozen=True, slots=True)
class ApplianceTerms:
    """What all appliances' connections share."""

    store: Store
    presence: Presence
    audit: AuditLog
    counters: Counters
    registration_required: bool
    seldom: Seldom = field(default_factory=Seldom)
    strangers: Strangers = field(default_factory=Strangers)


class ApplianceServer(asyncssh.SSHServer):
    """One connection of an appliance."""

    def __init__(self, terms: ApplianceTerms) -> None:
        self._terms = terms
        self._refusals = Refusals(terms.audit, terms.counters, "appliance", terms.seldom, terms.strangers)
        self._enrolled: Enrolled | None = None
        self._tunnel: Tunnel | None = None
        self._control: ControlSession | None = None
        self._registration: Registration | None = None
        self._logged_in = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._refusals.source = str((conn.get_extra_info("peername") or ("",))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._logged_in and "keepalive" in str(exc or "").lower():
            self._terms.counters.add("keepalive_deaths")
        self._refusals.close()
        self._leave()

    async def begin_auth(self, username: str) -> bool:
        self._refusals.user = username
        self._enrolled = None
        try:
            self._enrolled = await self._terms.store.appliances.get(username)
        except DatabaseError as error:
            self._refusals.note("store-away", error.text)
            return True
        if self._enrolled is None:
            self._refusals.note("unknown", "not enrolled")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        enrolled = self._enrolled
        good = enrolled is not None and username == enrolled.serial and same_key(enrolled.tunnel_key, key)
        if enrolled is not None and not good:
            self._refusals.note("key", "not the enrolled key")
        return good

    def auth_completed(self) -> None:
        self._logged_in = self._refusals.known = True
        self._terms.counters.add("appliance_logins")

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], ControlSession] | bool:
        enrolled = self._enrolled
        if enrolled is None or self._control is not None:
            return self._refuse("session", "another session")
        self._control = ControlSession(
            ControlTerms(
                name=enrolled.serial,
                store=self._terms.store,
                audit=self._terms.audit,
                confirmed=self._registered,
                withdrawn=self._withdrawn,
                cloned=self._cloned,
                refused=self._refuse,
            )
        )
        return self._conn.create_server_channel(encoding=None), self._control

    async def server_requested(self, listen_host: str, listen_port: int) -> NameListener | bool:
        if self._control is not None:
            try:
                await self._control.settled()
            except TimeoutError:
                return self._refuse("registration", "the registration is not settled")
        enrolled = self._enrolled
        if enrolled is None or listen_host != enrolled.serial or listen_port != SERVICE_PORT:
            return self._refuse("name", f"may not listen on {listen_host[:64]!r} port {listen_port}")
        if self._tunnel is not None:
            return self._refuse("name", "has its name already")
        if why := self._unfit(enrolled):
            return self._refuse("registration", why)
        self._take_name(enrolled)
        return NameListener(self._leave)

    def unix_server_requested(self, listen_path: str) -> bool:
        return self._refuse("name", "may not have a unix socket")

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return self._refuse("connection", f"may not have a connection to {dest_host[:64]!r} port {dest_port}")

    def unix_connection_requested(self, dest_path: str) -> bool:
        return self._refuse("connection", "may not have a connection to a unix socket")

    def tun_requested(self, unit: int | None) -> bool:
        return self._refuse("device", "may not have a network device")

    def tap_requested(self, unit: int | None) -> bool:
        return self._refuse("device", "may not have a network device")

    def limited(self, rule: str, why: str) -> None:
        """Take note of what the connection's own limits refused (core/ssh/accepted.py)."""
        self._refuse(rule, why)

    def bye(self, retry_after_s: float) -> None:
        """Tell the appliance when to come back, where it has a control channel."""
        if self._control is not None:
            self._control.bye(retry_after_s)

    def _unfit(self, enrolled: Enrolled) -> str:
        """Say why an appliance may not have its name yet; '' if it may.

        One that has ever registered has to register every time: its copy could leave that out otherwise.
        """
        if self._registration is not None:
            return ""
        if enrolled.frozen_at:
            return "this serial is frozen"
        if self._terms.registration_required or enrolled.generation >= 0:
            return "has not registered"
        return ""

    def _take_name(self, enrolled: Enrolled) -> None:
        address = self._conn.get_extra_info("sockname") or ("", 0)
        registration = self._registration
        self._tunnel = tunnel = Tunnel(
            name=enrolled.serial,
            connection=self._conn,
            source=self._refusals.source,
            port=int(address[1]),
            since_at=clock.now(),
            connection_id=secrets.token_hex(8),
            series=enrolled.series,
            key=enrolled.tunnel_key,
            until_at=registration.until_at if registration else 0.0,
            told=registration.told if registration else None,
            bye=self.bye,
        )
        self._terms.presence.take(tunnel)
        spawn(self._terms.presence.prove_new(tunnel), f"first proof of {tunnel.name}")

    def _registered(self, registration: Registration) -> None:
        self._registration = registration
        if self._tunnel is not None:
            self._tunnel.until_at, self._tunnel.told = registration.until_at, registration.told

    def _withdrawn(self) -> None:
        # What was withdrawn is no reason to give the name again.
        self._registration = None
        self._leave()

    def _cloned(self) -> None:
        """End the tunnel that stands: nobody knows which of the two machines is the right one."""
        presence, enrolled = self._terms.presence, self._enrolled
        standing = presence.get(enrolled.serial) if enrolled is not None else None
        if standing is not None:
            presence.close(standing, "this serial is frozen: a copy of its machine has come")

    def _refuse(self, rule: str, why: str) -> bool:
        if not self._refusals.note(rule, why):
            self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, "too many requests were refused")
        return False

    def _leave(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            self._terms.presence.leave(tunnel)
