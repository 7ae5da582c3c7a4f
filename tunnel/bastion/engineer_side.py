"""What an engineer may do on the bastion: reach the appliances named in a certificate, recorded or end to end.

The user name is the appliance's serial. A session is terminated here, recorded, and carried on to the
appliance's console as `service` (`relay.py`); with the permission to forward, `ssh -J` goes straight
through and only the fact is logged. Everything else is refused. Built by `fronts.py`, one object per
connection; logs to the audit.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import asyncssh

from core import clock
from core.errors import EX_UNAVAILABLE, GatepostError
from core.ssh import (
    Half,
    certificate_of,
    client_options,
    dial,
    known_hosts_line,
    make_key,
    public_text,
    splice_to_channel,
    translated,
)
from tunnel.audit import AuditLog
from tunnel.bastion.authority import Authority
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.registry import Registry
from tunnel.bastion.relay import DEFAULT_SIZE, Down, Request, Terms
from tunnel.config import BastionSection
from tunnel.identity import (
    SERVICE_PORT,
    SERVICE_USER,
    Engineer,
    authorised,
    engineer_of,
    is_name,
)
from tunnel.keyd.client import Keyd
from tunnel.recording.cast import Recorder, Recording


@dataclass(slots=True, eq=False)
class Visit:
    """One session or one connection straight through, as the verb `sessions` shows it."""

    visit_id: str
    engineer: Engineer
    serial: str
    mode: str
    source: str
    since_at: float
    command: str = ""

    def shown(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "id": self.visit_id,
            "engineer": self.engineer.name,
            "case": self.engineer.case,
            "key_id": self.engineer.key_id,
            "serial": self.serial,
            "mode": self.mode,
            "command": self.command,
            "source": self.source,
            "since": self.since_at,
        }


@dataclass(frozen=True, slots=True)
class Front:
    """What all engineers' connections share."""

    section: BastionSection
    keyd: Keyd
    """Signs the relay's certificates."""
    authority: Authority
    """Knows whose certificates let engineers in."""
    registry: Registry
    presence: Presence
    recorder: Recorder
    audit: AuditLog
    visits: dict[str, Visit]


class EngineerServer(asyncssh.SSHServer):
    """One connection of an engineer."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._name = ""
        self._engineer: Engineer | None = None
        self._open: set[str] = set()
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._source = str((conn.get_extra_info("peername") or ("",))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        for visit_id in tuple(self._open):
            self._ended(visit_id, 255)
        if self._engineer is not None:
            self._front.audit.note("engineer-end", key_id=self._engineer.key_id, source=self._source)

    def begin_auth(self, username: str) -> bool:
        self._name = username if is_name(username) else ""
        if self._name:
            text = authorised(self._front.authority.engineer_cas, self._name)
            self._conn.set_authorized_keys(asyncssh.import_authorized_keys(text))
        else:
            self._conn.set_authorized_keys(None)
            self._refused("not the name of an appliance")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def auth_completed(self) -> None:
        facts = certificate_of(self._conn)
        self._engineer = engineer_of(facts) if facts else None
        if self._engineer is None:
            self._refused("the certificate names no engineer and case")
            return
        left_s = self._engineer.until_at - clock.now() + self._front.section.session_grace_s
        self._limit = asyncio.get_running_loop().call_later(max(0.0, left_s), self._time_over)
        self._front.audit.write("engineer", key_id=self._engineer.key_id, serial=self._name, source=self._source)

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], Down]:
        visit = self._visit("recorded", self._name)
        terms = Terms(
            reach=lambda: self._reach(visit),
            record=lambda request, down: self._record(visit, request, down),
            started=lambda request: self._started(visit, request),
            ended=lambda status: self._ended(visit.visit_id, status),
            refused=self._refuse_quietly,
        )
        return self._conn.create_server_channel(encoding=None), Down(terms)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Coroutine[Any, Any, Half]:
        target = dest_host.lower()
        engineer = self._engineer
        if dest_port != SERVICE_PORT or engineer is None or target not in engineer.serials or not is_name(target):
            raise self._prohibited(f"may not connect to {dest_host[:64]!r} port {dest_port}")
        tunnel = self._tunnel(target)
        visit = self._visit("through", target)
        self._started(visit, Request())
        return splice_to_channel(
            tunnel.connection,
            (target, SERVICE_PORT),
            (engineer.key_id, 0),
            lambda: self._ended(visit.visit_id, 0),
        )

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return self._refused("may not listen")

    def unix_server_requested(self, listen_path: str) -> bool:
        return self._refused("may not listen")

    def unix_connection_requested(self, dest_path: str) -> bool:
        return self._refused("may not connect to a unix socket")

    def tun_requested(self, unit: int | None) -> bool:
        return self._refused("may not have a network device")

    def tap_requested(self, unit: int | None) -> bool:
        return self._refused("may not have a network device")

    def _refused(self, why: str) -> bool:
        key_id = self._engineer.key_id if self._engineer else ""
        self._front.audit.note("refused", side="engineer", user=self._name, key_id=key_id, source=self._source, why=why)
        return False

    def _refuse_quietly(self, why: str) -> None:
        self._refused(why)

    def _prohibited(self, why: str) -> asyncssh.ChannelOpenError:
        self._refused(why)
        return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)

    def _visit(self, mode: str, serial: str) -> Visit:
        if self._engineer is None:
            raise self._prohibited("the certificate names no engineer and case")
        if len(self._open) >= self._front.section.sessions_per_connection:
            raise self._prohibited("too many sessions on one connection")
        visit = Visit(secrets.token_hex(8), self._engineer, serial, mode, self._source, clock.now())
        self._open.add(visit.visit_id)
        return visit

    def _tunnel(self, name: str) -> Tunnel:
        tunnel = self._front.presence.get(name)
        if tunnel is None:
            self._refused(f"{name} has no tunnel")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "this appliance has no tunnel open")
        return tunnel

    def _started(self, visit: Visit, request: Request) -> None:
        visit.command = request.command or ""
        self._front.audit.write(
            "session",
            id=visit.visit_id,
            key_id=visit.engineer.key_id,
            serial=visit.serial,
            mode=visit.mode,
            command=request.command,
            pty=request.term_type is not None,
        )
        self._front.visits[visit.visit_id] = visit

    def _ended(self, visit_id: str, status: int) -> None:
        self._open.discard(visit_id)
        if self._front.visits.pop(visit_id, None) is not None:
            self._front.audit.note("session-end", id=visit_id, status=status)

    def _record(self, visit: Visit, request: Request, down: Down) -> Recording | None:
        width, height = request.term_size[:2]
        known = width > 0 and height > 0
        header: dict[str, Any] = {
            "width": width if known else DEFAULT_SIZE[0],
            "height": height if known else DEFAULT_SIZE[1],
            "timestamp": int(clock.now()),
            "title": visit.engineer.case,
            "env": {"TERM": request.term_type or ""},
            **({} if request.command is None else {"command": request.command}),
            "gatepost": {**visit.shown(), "pty": request.term_type is not None, "size_known": known},
        }
        strict = self._front.section.recording == "strict"
        failed: Callable[[str], None] = (
            (lambda _reason: down.end(255, "the recording failed: this session ends")) if strict else _nothing
        )
        try:
            recording = self._front.recorder.start(visit.visit_id, visit.serial, header, failed)
        except OSError:
            if strict:
                raise
            return None
        recording.marker("shell" if request.command is None else "exec", command=request.command)
        return recording

    async def _reach(self, visit: Visit) -> asyncssh.SSHClientConnection:
        """Log in to the appliance's console as `service`, in this engineer's name."""
        tunnel = self._front.presence.get(visit.serial)
        enrolled = self._front.registry.get(visit.serial)
        if tunnel is None or enrolled is None:
            raise GatepostError(f"{visit.serial.upper()} has no tunnel open", EX_UNAVAILABLE)
        key = make_key()
        text = await self._front.keyd.sign_relay(public_text(key), visit.engineer.key_id, visit.serial)
        certificate = asyncssh.import_certificate(text)
        options = client_options(
            SERVICE_USER,
            known_hosts_line(visit.serial, enrolled.host_key),
            host_key_alias=visit.serial,
            keys=[(key, certificate)],
            version="GatepostBastion_1.0",
            connect_timeout_s=self._front.section.login_timeout_s,
            login_timeout_s=self._front.section.login_timeout_s,
            keepalive_s=self._front.section.keepalive_s,
        )
        with translated(visit.serial.upper(), SERVICE_USER):
            return await dial(None, _Through(tunnel, visit.engineer.key_id), options)

    def _time_over(self) -> None:
        self._refused("the certificate and its grace have run out")
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, "your certificate has run out")


class _Through:
    """Lets asyncssh dial an appliance's console through its tunnel."""

    def __init__(self, tunnel: Tunnel, origin: str) -> None:
        self._tunnel = tunnel
        self._origin = origin

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:
        """Open the forwarded channel; host and port are the tunnel's own, whatever is asked for."""
        return await self._tunnel.connection.create_connection(
            factory, self._tunnel.name, SERVICE_PORT, self._origin, 0
        )

    def close(self) -> None:
        """The tunnel is not ours to close."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


def _nothing(_reason: str) -> None:
    return None
