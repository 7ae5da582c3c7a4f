"""The inner SSH server: where an engineer's connection ends on the appliance, as user `service`.

It runs in the console daemon on a unix socket, with the appliance's own host key; `tunnel-client` only carries
bytes to it. So the session is the console's own, the engineer's certificate is checked end to end, and the
process that talks to the bastion never sees what is typed. The console hands in the session as a factory.
Why: docs/adr/0005-inner-endpoint-in-the-console.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from core import clock
from core.errors import GatepostError
from core.pki import user_name
from core.ssh import AcceptLimits, SshListener, certificate_of, read_key, server_options
from tunnel.appliance import activation
from tunnel.config import TunnelSection
from tunnel.identity import SERVICE_SOCKET, SERVICE_USER, Engineer, authorised, engineer_of

SESSIONS_PER_CONNECTION = 100
"""How many sessions one connection may open in its life."""


@dataclass(frozen=True, slots=True)
class ServiceLogin:
    """Who has come in for service, as the appliance's audit must name them."""

    engineer: str
    case: str
    key_id: str
    relayed: bool
    """Through the recording bastion (true) or end to end with the engineer's own certificate (false)."""
    since_at: float
    until_at: float


ServiceSession = Callable[[ServiceLogin], asyncssh.SSHServerSession[bytes]]
"""Makes the console's session for a service login; it gets bytes, and may be asked for shell or exec."""


@dataclass(frozen=True, slots=True)
class ServiceTerms:
    """What the endpoint needs to know of its machine."""

    name: str
    """The appliance's serial in lower case: the principal that a certificate must carry."""
    engineer_cas: Sequence[str]
    activation_file: Path


class ServiceServer(asyncssh.SSHServer):
    """One connection for service. Only `service`, only certificates, only sessions."""

    def __init__(self, terms: ServiceTerms, session: ServiceSession) -> None:
        self._terms = terms
        self._session = session
        self._engineer: Engineer | None = None
        self._since_at = 0.0
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        if username == SERVICE_USER and self._account_open() and self._terms.engineer_cas:
            text = authorised(self._terms.engineer_cas, self._terms.name)
            self._conn.set_authorized_keys(asyncssh.import_authorized_keys(text))
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def auth_completed(self) -> None:
        facts = certificate_of(self._conn)
        self._engineer = engineer_of(facts) if facts else None
        self._since_at = clock.now()

    def session_requested(
        self,
    ) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        engineer = self._engineer
        self._sessions += 1
        if engineer is None or self._sessions > SESSIONS_PER_CONNECTION or not self._account_open():
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "service access is not open for you"
            )
        login = ServiceLogin(
            engineer=engineer.name,
            case=engineer.case,
            key_id=engineer.key_id,
            relayed=engineer.relayed,
            since_at=self._since_at,
            until_at=engineer.until_at,
        )
        return self._conn.create_server_channel(encoding=None), self._session(login)

    def _account_open(self) -> bool:
        try:
            return activation.load(self._terms.activation_file).account_open(clock.now())
        except GatepostError:
            return False


def build_endpoint(section: TunnelSection, serial: str, directory: Path, session: ServiceSession) -> SshListener:
    """Build the endpoint from a machine directory, for `daemons/console.py`."""
    terms = ServiceTerms(user_name(serial), section.engineer_cas, directory / "state" / activation.FILE_NAME)
    host_key = read_key(directory / "keys" / "host_ed25519")
    return service_endpoint(directory / "run" / SERVICE_SOCKET, host_key, terms, session)


def service_endpoint(
    socket_path: Path, host_key: asyncssh.SSHKey, terms: ServiceTerms, session: ServiceSession
) -> SshListener:
    """Build the console daemon's service that listens on run/console-service.sock."""
    options = server_options(lambda: ServiceServer(terms, session), [host_key], version="Gatepost_1.0 GatepostService1")
    limits = AcceptLimits(unauthenticated=20, unauthenticated_per_source=20, connections=100)
    return SshListener("console-service", [socket_path], options, limits=limits)
