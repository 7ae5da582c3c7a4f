"""What an engineer may do on the bastion: reach the appliances named in a certificate, recorded or end to end.

The user name is the appliance's serial. A session is terminated here, recorded, and carried on to the appliance's
console as `service` (`session.py`); with the role to forward, `ssh -J` goes straight through and only the fact is
logged. Every kind of channel and request is decided here; everything else is refused. Built by `fronts.py`, one
object per connection. Each refusal is counted, and an audit line once.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import asyncssh

from core import clock
from core.diagnostic import incident
from core.errors import GatepostError
from core.ssh import CertificateFacts, Half, certificate_facts, fingerprint, signed_by, splice_to_channel
from tunnel.bastion.approval import waiting
from tunnel.bastion.entitlement import FORWARD, SHELL, Denied, Entitled
from tunnel.bastion.refusal import Refusals
from tunnel.bastion.relay import Down
from tunnel.bastion.session import Front, Own, Session
from tunnel.bastion.visit import RECORDED, THROUGH, Visit
from tunnel.identity import SERVICE_PORT, Engineer, authorised, engineer_of, is_name, unfit

_DENIED = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED


class EngineerServer(asyncssh.SSHServer):
    """One connection of an engineer."""

    def __init__(self, front: Front, authorities: tuple[str, ...]) -> None:
        self._front = front
        self._authorities = authorities
        self._refusals = Refusals(front.audit, front.counters, "engineer", strangers=front.strangers)
        self._id = secrets.token_hex(8)
        self._name = ""
        self._engineer: Engineer | None = None
        self._entitled: Entitled | None = None
        self._denied: GatepostError = Denied("certificate", "no certificate was shown")
        self._visits: set[Visit] = set()
        self._limit: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._over = False
        self._told = ""
        self._shown = ""
        """What was shown in vain."""
        self._came = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._refusals.source = str((conn.get_extra_info("peername") or ("",))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._limit, self._idle):
            if timer is not None:
                timer.cancel()
        self._over = True
        if self._shown and not self._came:
            self._refusals.note("certificate", self._shown)
        for visit in tuple(self._visits):
            if visit.mode == THROUGH:
                self._through_ended(visit, 255)
        self._refusals.close()
        if self._came and self._engineer is not None:
            self._front.audit.note("engineer-end", key_id=self._engineer.key_id, source=self._refusals.source)

    def begin_auth(self, username: str) -> bool:
        self._refusals.user = username
        name = username.lower()  # it is printed in capitals
        self._name = name if is_name(name) else ""
        if self._name:
            text = authorised(self._authorities, self._name)
            self._conn.set_authorized_keys(asyncssh.import_authorized_keys(text))
        else:
            self._conn.set_authorized_keys(None)
            self._refuse("user-name", "not the name of an appliance")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def limited(self, rule: str, why: str) -> None:
        """Take note of what the connection's own limits refused (core/ssh/accepted.py)."""
        self._refuse(rule, why)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._shown = self._shown or f"no certificate: the key {fingerprint(key)} alone was shown"
        return False

    def rejected(self, certificate: asyncssh.SSHCertificate) -> None:
        """Say to the holder of a certificate of ours what is wrong with it; to nobody else (core/ssh/accepted.py)."""
        facts = certificate_facts(certificate)
        if not any(signed_by(certificate, one) for one in self._authorities):
            self._shown = self._shown or "a certificate of another authority was shown"
            return
        self._refusals.known = True
        why = unfit(facts, self._name or self._refusals.user[:64])
        self._shown = f"{why or 'a certificate that is not taken from here'} ({facts.key_id})"
        if why:
            hint = "" if self._name in facts.principals else "the user name is a serial number of it, or "
            self._tell(f"{why}; {hint}`gatepost bastion ca sign` makes another")

    async def certified(self, facts: CertificateFacts) -> None:
        """Look up what the holder of a good certificate may do here, before the login is complete."""
        self._engineer = engineer_of(facts)
        self._refusals.known = True
        self._shown = f"a certificate was shown, and not that its key is there ({facts.key_id})"
        self._entitled = None
        if self._engineer is None:
            self._denied = Denied("certificate", "the certificate names no engineer and case")
            return
        try:
            self._entitled = await self._front.entitlements.of(self._engineer, self._name, self._refusals.source)
        except GatepostError as error:
            self._denied = error
        entitled = self._entitled
        missing = _rule(self._denied) == "approval" if entitled is None else not entitled.approved
        if missing and self._front.section.approval == "second-person":
            # Straight through there is no channel for a line later.
            self._tell(waiting(self._front.section, self._engineer.case))

    def _tell(self, text: str) -> None:
        """Say a line before the login is complete, once."""
        if self._told != text:
            self._told = text
            with suppress(OSError):
                self._conn.send_auth_banner(f"{text}\r\n")

    def auth_completed(self) -> None:
        self._came = self._refusals.known = True
        self._set_idle()
        if self._engineer is not None:
            self._refusals.key_id = self._engineer.key_id
            left_s = self._engineer.until_at - clock.now() + self._front.section.session_grace_s
            self._limit = asyncio.get_running_loop().call_later(max(0.0, left_s), self._time_over)
            self._front.counters.add("engineer_logins")
            self._front.audit.write(
                "engineer", key_id=self._engineer.key_id, serial=self._name, source=self._refusals.source
            )
        if self._entitled is None:
            self._refuse(_rule(self._denied), self._denied.text)

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], Down]:
        engineer = self._engineer
        if engineer is None:
            raise self._prohibited("certificate", self._denied.text)
        visit = self._visit(engineer, RECORDED, self._name)
        own = Own(
            roles=self._roles,
            entitled=lambda: self._entitled,
            denied=lambda: self._denied.text,
            refuse=self._refuse,
            ended=self._left,
            connection_id=self._id,
        )
        return self._conn.create_server_channel(encoding=None), Session(self._front, own, visit).down()

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Coroutine[Any, Any, Half]:
        target = dest_host.lower()
        engineer = self._engineer
        if engineer is None:
            raise self._prohibited("certificate", self._denied.text)
        if dest_port != SERVICE_PORT or target not in engineer.serials or not is_name(target):
            raise self._prohibited("connection", f"may not connect to {dest_host[:64]!r} port {dest_port}")
        return self._through(engineer, target)

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return self._refuse("listen", "may not listen")

    def unix_server_requested(self, listen_path: str) -> bool:
        return self._refuse("listen", "may not listen")

    def unix_connection_requested(self, dest_path: str) -> bool:
        return self._refuse("connection", "may not connect to a unix socket")

    def tun_requested(self, unit: int | None) -> bool:
        return self._refuse("device", "may not have a network device")

    def tap_requested(self, unit: int | None) -> bool:
        return self._refuse("device", "may not have a network device")

    async def _through(self, engineer: Engineer, target: str) -> Half:
        """Join an engineer's forwarded connection with the appliance's console; no exception but a refusal leaves."""
        visit = self._visit(engineer, THROUGH, target)
        visit.role = FORWARD
        try:
            entitled = await self._front.entitlements.of(engineer, target, self._refusals.source, hold=True)
            if FORWARD not in self._roles(entitled):
                raise Denied("role", f"you may not go straight through: the role {FORWARD} is needed")
            return await self._splice(engineer, target, visit)
        except asyncssh.ChannelOpenError:
            raise
        except GatepostError as error:
            self._refuse(_rule(error), error.text)
            raise asyncssh.ChannelOpenError(_DENIED, error.text) from error
        except Exception as error:  # one channel never takes the connection down
            number = incident("straight through", error)
            raise asyncssh.ChannelOpenError(_DENIED, f"internal error, incident {number}") from error
        finally:
            if visit not in self._front.visits:
                self._left(visit)

    async def _splice(self, engineer: Engineer, target: str, visit: Visit) -> Half:
        front = self._front
        try:
            tunnel = await front.way.tunnel(target)
            front.audit.write(
                "session", id=visit.visit_id, key_id=engineer.key_id, serial=target, mode=visit.mode, pty=False
            )
            front.visits.add(visit)
            front.counters.add("sessions_through")
            half = await splice_to_channel(
                tunnel.connection,
                (target, SERVICE_PORT),
                (engineer.key_id, 0),
                lambda: self._through_ended(visit, 0),
            )
        except BaseException:
            self._through_ended(visit, 255)
            raise
        visit.cut = lambda _reason: half.close()
        return half

    def _roles(self, entitled: Entitled) -> frozenset[str]:
        """Give the roles that store and certificate both give: a certificate without terminal is for no shell."""
        allowed = set(entitled.roles)
        if not self._conn.check_certificate_permission("pty"):
            allowed.discard(SHELL)
        if not self._conn.check_certificate_permission("port-forwarding"):
            allowed.discard(FORWARD)
        return frozenset(allowed)

    def _visit(self, engineer: Engineer, mode: str, serial: str) -> Visit:
        visit = Visit(engineer=engineer, serial=serial, mode=mode, source=self._refusals.source)
        self._visits.add(visit)
        self._set_idle()
        return visit

    def _left(self, visit: Visit) -> None:
        self._visits.discard(visit)
        self._set_idle()

    def _through_ended(self, visit: Visit, status: int) -> None:
        if self._front.visits.remove(visit):
            self._front.audit.note("session-end", id=visit.visit_id, status=status)
        self._left(visit)

    def _set_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._visits and not self._over:
            self._idle = asyncio.get_running_loop().call_later(self._front.section.idle_s, self._unused)

    def _unused(self) -> None:
        self._front.counters.add("engineer_connections_unused")
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, "nothing was opened on this connection")

    def _time_over(self) -> None:
        self._refuse("expired", "the certificate and its grace have run out")
        self._end("your certificate has run out")

    def _end(self, why: str) -> None:
        """End the connection; the appliances are told that its sessions are over, not lost."""
        for visit in tuple(self._visits):
            visit.cut(why)
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, why)

    def _refuse(self, rule: str, why: str) -> bool:
        if not self._refusals.note(rule, why):
            self._end("too many requests were refused")
        return False

    def _prohibited(self, rule: str, why: str) -> asyncssh.ChannelOpenError:
        self._refuse(rule, why)
        return asyncssh.ChannelOpenError(_DENIED, why)


def _rule(error: GatepostError) -> str:
    return error.rule if isinstance(error, Denied) else "not-reached"
