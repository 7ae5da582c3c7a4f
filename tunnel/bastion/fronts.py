"""The two fronts of the bastion: one for appliances on the six ports, one for engineers on an address of its own.

Built by `assembly.py`, which knows what stands behind them. Who may connect and how often is `core/ssh/`'s, by the
limits given here. Raises GatepostError (78) for TLS files that cannot be used.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncssh

from core.errors import EX_CONFIG, GatepostError
from core.ssh import (
    ALPN,
    AcceptLimits,
    ConnectionLimits,
    Entrance,
    PenaltyTerms,
    SshListener,
    server_options,
)
from core.tls import own_context
from tunnel.bastion.appliance_side import ApplianceServer, ApplianceTerms
from tunnel.bastion.authority import Authority, HostKey
from tunnel.bastion.door import Door
from tunnel.bastion.engineer_side import EngineerServer
from tunnel.bastion.session import Front
from tunnel.config import BastionSection

VERSION = "Gatepost_1.0 GatepostTunnels1"


class Fronts:
    """Both listeners; `terms` is what appliances' connections share, `front` what engineers' do."""

    def __init__(
        self,
        terms: ApplianceTerms,
        front: Front,
        authority: Authority,
        *,
        host_key: asyncssh.SSHKey,
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        section = front.section
        self._section = section
        self._terms = terms
        self._front = front
        self.appliances = self._listener(
            "appliances",
            [(section.address, port) for port in section.ports],
            self._appliance_options(authority.host_key),
            section.connections,
            section.appliance_channels,
            entrance=Entrance(
                proxies=_networks(section.proxies),
                shared_ports=frozenset(section.shared_ports) & frozenset(section.ports),
                tls=tls,
            ),
        )
        self.engineers = self._listener(
            "engineers",
            [(section.engineer_address, section.engineer_port)],
            self._options(lambda: EngineerServer(front, authority.engineer_cas), host_key),
            section.engineer_connections,
            section.sessions_per_connection,
            entrance=Entrance(proxies=_networks(section.proxies)),
        )

    def certified(self, host_key: HostKey) -> None:
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
        section, front = self._section, self._front
        door = Door(name, front.audit, front.counters)
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
