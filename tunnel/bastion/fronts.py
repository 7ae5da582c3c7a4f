"""The bastion: two fronts, one for appliances on the six ports and one for engineers on an address of its own.

Puts the parts together for `daemons/bastion.py`. Files below the machine's directory: `keys/bastion_host_ed25519` and
what `authority.py` keeps, the store, `recordings/`, `log/audit.jsonl`. Both authorities are keyd's, asked over
`run/keyd.sock`. Raises GatepostError (78) for a key that is missing.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncssh

from core.errors import EX_CONFIG, GatepostError
from core.lifecycle import Service
from core.metrics import Counters
from core.ssh import (
    ALPN,
    AcceptLimits,
    ConnectionLimits,
    Entrance,
    PenaltyTerms,
    SshListener,
    read_key,
    server_options,
)
from core.tls import own_context
from tunnel.audit import AuditLog
from tunnel.bastion.appliance_side import ApplianceServer, ApplianceTerms
from tunnel.bastion.approval import Approvals
from tunnel.bastion.authority import Authority, HostKey
from tunnel.bastion.door import Door
from tunnel.bastion.engineer_side import EngineerServer
from tunnel.bastion.entitlement import Entitlements, timely
from tunnel.bastion.figures import Figures
from tunnel.bastion.liveness import Liveness
from tunnel.bastion.opening import After, Opened
from tunnel.bastion.oversight import Oversight
from tunnel.bastion.peer.node import PeerNode
from tunnel.bastion.presence import Presence
from tunnel.bastion.reach import Way
from tunnel.bastion.session import Front
from tunnel.bastion.store import open_store
from tunnel.bastion.visit import Visits
from tunnel.config import BastionSection
from tunnel.keyd.client import SOCKET, Keyd
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import Signer

VERSION = "Gatepost_1.0 GatepostTunnels1"


class Bastion:
    """All services of the bastion and the verbs of its control socket."""

    def __init__(self, section: BastionSection, directory: Path) -> None:
        host_key = read_key(directory / "keys" / "bastion_host_ed25519")
        keyd = Keyd(directory / "run" / SOCKET)
        self._section = section
        self.audit = AuditLog(directory / "log" / "audit.jsonl")
        self.counters = Counters(directory / "state" / "bastion.counters.json")
        self.visits = Visits()
        self.presence = Presence(self.audit, self.counters)
        self.store = open_store(section.database, directory)
        self._authority = Authority(keyd, host_key, names=section.names, directory=directory, renewed=self._certified)
        recorder = Recorder(directory / "recordings", self.audit, section, signed_by(keyd))
        peers = PeerNode(section, directory, store=self.store, presence=self.presence, keyd=keyd, audit=self.audit)
        entitlements = Entitlements(
            self.store,
            keyd,
            timely=timely,
            approved=Approvals(section, self.store.cases, self.audit).why_not,
            node=peers.directory.node,
            elsewhere=peers.directory.certify,
        )
        self._way = Way(
            self.store,
            self.presence,
            entitlements,
            timeout_s=section.login_timeout_s,
            keepalive_s=section.keepalive_s,
            hop_port=section.hop_port,
            elsewhere=peers.directory.elsewhere,
        )
        self._front = Front(
            section=section,
            way=self._way,
            entitlements=entitlements,
            recorder=recorder,
            audit=self.audit,
            counters=self.counters,
            visits=self.visits,
        )
        self._terms = ApplianceTerms(
            store=self.store,
            presence=self.presence,
            audit=self.audit,
            counters=self.counters,
            registration_required=section.registration == "required",
        )
        self.appliances = self._listener(
            "appliances",
            [(section.address, port) for port in section.ports],
            self._appliance_options(self._authority.host_key),
            section.connections,
            section.appliance_channels,
            entrance=Entrance(
                proxies=_networks(section.proxies),
                shared_ports=frozenset(section.shared_ports) & frozenset(section.ports),
                tls=tls_context(section, directory),
            ),
        )
        self.engineers = self._listener(
            "engineers",
            [(section.engineer_address, section.engineer_port)],
            self._options(lambda: EngineerServer(self._front, self._authority.engineer_cas), host_key),
            section.engineer_connections,
            section.sessions_per_connection,
            entrance=Entrance(proxies=_networks(section.proxies)),
        )
        self.oversight = Oversight(
            self.visits,
            self.presence,
            entitlements,
            audit=self.audit,
            counters=self.counters,
            enrolled=self.store.appliances.all,
        )
        figures = Figures(self.counters, self.presence, self.visits, recorder, (self.appliances, self.engineers))
        opened = Opened(self.store)
        self.services: list[Service] = [
            opened,
            self._authority,
            After(opened, self.appliances),
            After(opened, self.engineers),
            *(After(opened, one) for one in peers.services),
            recorder,
            self.oversight,
            Liveness(self.presence, self.store, section.liveness_s),
            self.counters,
            figures,
        ]
        self.verbs = {
            "tunnels": self.tunnels,
            "sessions": self.sessions,
            "watch": self.oversight.watch,
            "terminate": self.oversight.terminate,
            "recheck": self.oversight.recheck,
            "status": figures.status,
        }

    async def tunnels(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `tunnels`: who is connected, and whether anybody answers there."""
        connected = {tunnel.name for tunnel in self.presence.all()}
        away = [one.serial for one in await self.store.appliances.all() if one.serial not in connected]
        return {"tunnels": self.presence.shown(), "away": away}

    async def sessions(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `sessions`: which engineers are where."""
        return {"sessions": [visit.shown() for visit in self.visits]}

    def _certified(self, host_key: HostKey) -> None:
        """Show a new host certificate to appliances that dial in from now on."""
        self.appliances.options = self._appliance_options(host_key)

    def _appliance_options(self, host_key: HostKey) -> asyncssh.SSHServerConnectionOptions:
        return self._options(lambda: ApplianceServer(self._terms), host_key)

    def _options(
        self, factory: Callable[[], asyncssh.SSHServer], host_key: HostKey
    ) -> asyncssh.SSHServerConnectionOptions:
        section = self._section
        return server_options(
            factory,
            [host_key],
            version=VERSION,
            login_timeout_s=section.login_timeout_s,
            keepalive_s=section.keepalive_s,
            old_clients=section.old_clients,
        )

    def _listener(
        self,
        name: str,
        endpoints: Sequence[tuple[str, int]],
        options: asyncssh.SSHServerConnectionOptions,
        connections: int,
        channels: int,
        *,
        entrance: Entrance,
    ) -> SshListener:
        section = self._section
        door = Door(name, self.audit, self.counters)
        return SshListener(
            name,
            endpoints,
            options,
            limits=AcceptLimits(
                unauthenticated=section.unauthenticated,
                early_drop=section.early_drop,
                unauthenticated_per_source=section.unauthenticated_per_source,
                connections=connections,
                login_timeout_s=section.login_timeout_s,
                tries=section.tries,
                handshakes=section.handshakes or max(1, (os.cpu_count() or 2) // 2),
                penalties=PenaltyTerms() if section.penalties else None,
                exempt=_networks(section.unlimited_sources),
            ),
            within=ConnectionLimits(
                tries=section.tries,
                channels=channels,
                requests_a_minute=section.requests_per_minute,
                rekey_s=section.rekey_s,
            ),
            entrance=entrance,
            refused=door.refused,
            took=door.took,
        )


def signed_by(keyd: Keyd) -> Signer:
    """Give the way to have a recording signed."""

    async def sign(digest: bytes) -> str:
        return await keyd.sign_recording(digest.hex())

    return sign


def _networks(texts: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def tls_context(section: BastionSection, directory: Path) -> Callable[[], ssl.SSLContext] | None:
    """Make the TLS context of the shared ports; None where there are none. Raises GatepostError (78)."""
    if not set(section.shared_ports) & set(section.ports):
        return None
    certificate, key = directory / section.tls_certificate, directory / section.tls_key
    try:
        context = own_context(ssl.PROTOCOL_TLS_SERVER, certificate, key)
    except (OSError, ssl.SSLError) as error:
        text = f"{certificate} with {key.name} cannot be used for TLS: {error.strerror or error}"
        raise GatepostError(f"{text}; `gatepost init` makes a pair", EX_CONFIG) from error
    context.set_alpn_protocols([ALPN])
    return lambda: context
