"""The bastion: two fronts, one for appliances on the six ports and one for engineers on an address of its own.

Puts the parts together for `daemons/bastion.py` and answers the verbs `tunnels` and `sessions`. Files below the
machine's directory: `keys/bastion_host_ed25519` and what `authority.py` keeps, `state/registry/`, `recordings/`,
`log/audit.jsonl`. Both authorities are keyd's, asked over `run/keyd.sock`. Raises GatepostError (78) for a key that is
missing.
"""

import asyncio
from pathlib import Path
from typing import Any

import asyncssh

from core.diagnostic import INFO, say
from core.lifecycle import Scope, Service
from core.ssh import (
    AcceptLimits,
    Refusal,
    SshListener,
    read_key,
    server_options,
)
from tunnel.audit import AuditLog
from tunnel.bastion.appliance_side import ApplianceServer
from tunnel.bastion.authority import Authority, HostKey
from tunnel.bastion.engineer_side import EngineerServer, Front, Visit
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.registry import Registry
from tunnel.config import BastionSection
from tunnel.keyd.client import SOCKET, Keyd
from tunnel.recording.cast import Recorder

VERSION = "Gatepost_1.0 GatepostTunnels1"
_PROOFS_AT_ONCE = 20


class Bastion:
    """All services of the bastion and the verbs of its control socket."""

    def __init__(self, section: BastionSection, directory: Path) -> None:
        host_key = read_key(directory / "keys" / "bastion_host_ed25519")
        keyd = Keyd(directory / "run" / SOCKET)
        authority = Authority(keyd, host_key, names=section.names, directory=directory, renewed=self._certified)
        self._section = section
        self._audit = AuditLog(directory / "log" / "audit.jsonl")
        self._visits: dict[str, Visit] = {}
        self._presence = Presence(self._audit)
        self.registry = Registry(directory / "state" / "registry")
        recorder = Recorder(directory / "recordings", self._audit)
        front = Front(
            section=section,
            keyd=keyd,
            authority=authority,
            registry=self.registry,
            presence=self._presence,
            recorder=recorder,
            audit=self._audit,
            visits=self._visits,
        )
        self.appliances = SshListener(
            "appliances",
            [(section.address, port) for port in section.ports],
            self._appliance_options(authority.host_key),
            limits=self._limits(section.connections),
            refused=self._refused,
        )
        self.engineers = SshListener(
            "engineers",
            [(section.engineer_address, section.engineer_port)],
            server_options(
                lambda: EngineerServer(front),
                [host_key],
                version=VERSION,
                login_timeout_s=section.login_timeout_s,
                keepalive_s=section.keepalive_s,
            ),
            limits=self._limits(section.engineer_connections),
            refused=self._refused,
        )
        self.services: list[Service] = [
            authority,
            self.appliances,
            self.engineers,
            recorder,
            Liveness(self._presence, section.liveness_s),
        ]

    async def tunnels(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `tunnels`: who is connected, and whether anybody answers there."""
        connected = {tunnel.name for tunnel in self._presence.all()}
        away = [name for name in self.registry.names() if name not in connected]
        return {"tunnels": self._presence.shown(), "away": away}

    async def sessions(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `sessions`: which engineers are where."""
        return {"sessions": [visit.shown() for visit in self._visits.values()]}

    def _certified(self, host_key: HostKey) -> None:
        """Show a new host certificate to appliances that dial in from now on."""
        self.appliances.options = self._appliance_options(host_key)

    def _appliance_options(self, host_key: HostKey) -> asyncssh.SSHServerConnectionOptions:
        return server_options(
            lambda: ApplianceServer(self.registry, self._presence, self._audit),
            [host_key],
            version=VERSION,
            login_timeout_s=self._section.login_timeout_s,
            keepalive_s=self._section.keepalive_s,
        )

    def _limits(self, connections: int) -> AcceptLimits:
        return AcceptLimits(
            unauthenticated=self._section.unauthenticated,
            unauthenticated_per_source=self._section.unauthenticated_per_source,
            connections=connections,
            login_timeout_s=self._section.login_timeout_s,
        )

    def _refused(self, refusal: Refusal) -> None:
        # Not an audit line: an address that only knocks could fill the log.
        say(INFO, f"bastion: {refusal.source} at {refusal.local}: {refusal.reason}")


class Liveness:
    """Proves every tunnel end to end from time to time."""

    name = "liveness"

    def __init__(self, presence: Presence, interval_s: float) -> None:
        self._presence = presence
        self._interval_s = interval_s
        self._at_once = asyncio.Semaphore(_PROOFS_AT_ONCE)

    async def run(self, scope: Scope) -> None:
        """Prove all tunnels each interval until stopping."""
        scope.ready()
        while await scope.pause(self._interval_s):
            async with asyncio.TaskGroup() as proofs:
                for tunnel in self._presence.all():
                    proofs.create_task(self._prove(tunnel))

    async def _prove(self, tunnel: Tunnel) -> None:
        async with self._at_once:
            await self._presence.prove(tunnel)
