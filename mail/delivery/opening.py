"""One search for a connection: the addresses of a destination, best first, until one answers as it must.

Made by the SMTP courier for each `open`. Addresses of equal preference race each other (`core/smtp/race.py`); one that
fails the handshake or the greeting is given up and the others race on. Before that, an idle connection of another
destination to one of them is taken over. Logs the connection's lines, one for each address that failed and none for
those that were only slower. Raises the failure of the last address tried, but of one that failed a policy if
there is such, `Busy` where limits for each address leave none, or `NoDestination`.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.log.debug import Recording
from core.maillog import Log, clean
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings, TlsSettings
from core.smtp.race import race
from core.smtp.target import Target
from mail.delivery.courier import Busy
from mail.delivery.host import HostTable
from mail.delivery.limit import Limits
from mail.delivery.pool import Key, Pool, key_of
from mail.delivery.resolve import NoDestination
from mail.delivery.security import HostUnusable, SecurityPlan
from mail.delivery.smtp_line import Handling, SmtpLine
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from protocol.smtp.failure import ClientFailure, ConnectError, ProtocolError, TlsError

MOST_TARGETS = 5
"""Addresses tried for one connection."""
Chosen = dict[Target, TlsSettings]


@dataclass(slots=True)
class Desk:
    """What all searches share; `handling` may become another one for lines to come."""

    hosts: HostTable
    pool: Pool
    next_dcid: Callable[[], int]
    log: Log
    handling: Handling


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for."""

    domain: str
    gateway: str
    settings: ConnectionSettings
    limits: Limits
    plan: SecurityPlan
    tls_failed: Callable[[str], None]
    """Hears why there is no TLS, for operators."""


class Search:
    """One search."""

    def __init__(self, desk: Desk, wanted: Wanted) -> None:
        self._desk = desk
        self._wanted = wanted
        self._hosts = desk.hosts
        self._failure: TemporaryFailure | None = None
        self._refused: TlsError | HostUnusable | None = None
        """The last failure that was for a policy."""
        self._busy = 0

    async def line(self, targets: Sequence[Target]) -> SmtpLine:
        """Find a line to one of the targets, which are in the order of the resolution. Raises as the module says."""
        left = MOST_TARGETS
        for group in self._hosts.order(self._wanted.gateway, self._reachable(targets), self._wanted.domain):
            chosen = self._permitted(group[:left])
            left -= len(group)
            line = self._borrowed(chosen) or await self._connected(self._free(chosen))
            if line is not None:
                return line
            if left <= 0:
                break
        raise self._nothing()

    def _nothing(self) -> TemporaryFailure:
        failure = self._refused or self._failure
        if failure is not None:
            return failure
        if self._busy:
            text = f"all {self._wanted.limits.connections} connections that each of its addresses may have are open"
            return Busy(Reply(451, "4.4.5", text), text)
        source = self._wanted.settings.source_address
        where = f" that {source} can reach" if source else ""
        return NoDestination(f"{self._wanted.domain} has no address{where}")

    def _reachable(self, targets: Sequence[Target]) -> Sequence[Target]:
        source = self._wanted.settings.source_address
        return [one for one in targets if (":" in one.address) == (":" in source)] if source else targets

    def _permitted(self, targets: Sequence[Target]) -> Chosen:
        """Leave out what a policy forbids."""
        chosen: Chosen = {}
        for target in targets:
            try:
                chosen[target] = self._wanted.plan.settings(target)
            except HostUnusable as problem:
                self._refused = problem
                text = clean(problem.text)
                self._desk.log.info(f"Host {clean(target.host)} ({target.address}) not used: {text}")
                self._wanted.tls_failed(text)
                self._wanted.plan.concluded(target, None, problem)
        return chosen

    def _free(self, chosen: Chosen) -> Chosen:
        """Leave out addresses that may have no more connections."""
        limits, gateway = self._wanted.limits, self._wanted.gateway
        if not limits.per_address:
            return chosen
        free = {
            target: tls
            for target, tls in chosen.items()
            if self._hosts.open(gateway, target.address, per_gateway=limits.per_gateway) < limits.connections
        }
        self._busy += len(chosen) - len(free)
        return free

    def _key(self, target: Target, tls: TlsSettings) -> Key:
        return key_of(self._wanted.gateway, target, self._wanted.settings, tls)

    def _borrowed(self, chosen: Chosen) -> SmtpLine | None:
        most = self._wanted.limits.messages_per_connection
        for target, tls in chosen.items():
            line = self._desk.pool.borrow(self._key(target, tls), most)
            if line is not None:
                line.remote_host = target.host
                return line
        return None

    async def _connected(self, chosen: Chosen) -> SmtpLine | None:
        gateway = self._wanted.gateway
        counted = list(chosen)
        for target in counted:
            self._hosts.begin(gateway, target.address)
        try:
            while chosen:
                found = await self._first(chosen)
                if found is None:
                    break
                target, sock = found
                connection = await self._opened(target, chosen.pop(target), sock)
                if connection is not None:
                    counted.remove(target)
                    return connection
        finally:
            for target in counted:
                self._hosts.end(gateway, target.address)
        return None

    async def _first(self, chosen: Chosen) -> tuple[Target, socket.socket | None] | None:
        """Choose the next address to speak to; several race for it, and those that fail are taken out."""
        if len(chosen) == 1:
            return next(iter(chosen)), None

        def failed(target: Target, problem: ConnectError) -> None:
            del chosen[target]
            self._failed(target, self._desk.next_dcid(), problem)

        def slow(target: Target) -> None:
            self._hosts.slow(self._wanted.gateway, target.address)

        return await race(list(chosen), self._wanted.settings, failed=failed, slow=slow)

    async def _opened(self, target: Target, tls: TlsSettings, sock: socket.socket | None) -> SmtpLine | None:
        wanted, gateway = self._wanted, self._wanted.gateway
        settings = wanted.settings
        if self._hosts.careful(gateway, target.address):
            settings = replace(settings, client=replace(settings.client, chunking=False, pipelining=False))
        dcid = self._desk.next_dcid()
        try:
            connection = await connect(target, settings, tls, sock, recording=self._recording(dcid))
        except ClientFailure as problem:
            self._failed(target, dcid, problem)
            return None
        self._hosts.up(gateway, target.address, wanted.domain)
        self._tell(dcid, connection)
        words = wanted.plan.concluded(target, connection, None)
        if words:
            self._desk.log.info(f"DCID {dcid} {words}")
        return self._line(target, tls, dcid, connection)

    def _recording(self, dcid: int) -> Recording | None:
        debug = self._desk.handling.debug
        return debug.begin(self._wanted.domain, dcid) if debug is not None and debug.active else None

    def _line(self, target: Target, tls: TlsSettings, dcid: int, connection: ClientConnection) -> SmtpLine:
        hosts, pool, gateway, key = self._hosts, self._desk.pool, self._wanted.gateway, self._key(target, tls)

        def broken(problem: ClientFailure) -> None:
            if isinstance(problem, ProtocolError):
                hosts.confused(gateway, target.address, clean(problem.text))

        line = SmtpLine(connection, dcid, self._desk.log, self._desk.handling, broken=broken)
        pool.add(key, line)

        def lost() -> None:
            hosts.end(gateway, target.address)
            pool.drop(key, line.latest)

        connection.when_lost(lost)
        return line

    def _failed(self, target: Target, dcid: int, problem: ClientFailure) -> None:
        self._failure = problem
        text = clean(problem.text)
        # The address answers: that it is not good enough for this domain's policy says nothing to others.
        unfit = self._wanted.domain if isinstance(problem, TlsError) else ""
        self._hosts.down(self._wanted.gateway, target.address, text, only_for=unfit)
        if isinstance(problem, ProtocolError):
            self._hosts.confused(self._wanted.gateway, target.address, text)
        if isinstance(problem, TlsError):
            self._refused = problem
            self._wanted.tls_failed(text)
            self._desk.log.info(f"DCID {dcid} TLS failed: {text}")
        self._desk.log.info(
            f"Connection Error: DCID: {dcid} IP: {target.address} details: {text}"
            f" interface: {self._wanted.settings.source_address or 'auto'} reason: {problem.party} ({problem.stage})"
        )
        words = self._wanted.plan.concluded(target, None, problem)
        if words:
            self._desk.log.info(f"DCID {dcid} {words}")

    def _tell(self, dcid: int, connection: ClientConnection) -> None:
        target, log = connection.target, self._desk.log
        log.info(
            f"New SMTP DCID {dcid} interface {connection.local_address} address {target.address} port {target.port}"
        )
        if connection.tls_error is not None:
            text = clean(connection.tls_error.text)
            self._wanted.tls_failed(f"Preferred - {text}")
            log.info(f"DCID {dcid} TLS failed: {text}")
        if connection.tls is not None:
            log.info(f"DCID {dcid} TLS success protocol {connection.tls.version} cipher {connection.tls.cipher}")
