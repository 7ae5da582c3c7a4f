"""The bastion: two fronts, one for appliances on the six ports and one for engineers on an address of its own.

Puts the parts together for `daemons/bastion.py` and answers the verbs `tunnels` and `sessions`. Also makes the
keys of a new bastion and signs engineers' certificates for `gatepost bastion`. Files below the machine's
directory: `keys/host_ed25519` (with a host certificate made at start), `keys/host_ca_ed25519`,
`keys/engineer_ca_ed25519`, `appliances/`, `recordings/`, `log/audit.jsonl`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh

from core.diagnostic import INFO, say
from core.lifecycle import Scope, Service
from core.ssh import (
    AcceptLimits,
    Refusal,
    SshListener,
    ensure_key,
    host_certificate,
    public_text,
    read_key,
    server_options,
)
from tunnel.appliance_side import ApplianceServer
from tunnel.audit import AuditLog
from tunnel.config import BastionSection
from tunnel.engineer_side import EngineerServer, Front, Visit
from tunnel.identity import sign_engineer
from tunnel.presence import Presence
from tunnel.recording import Recorder
from tunnel.registry import Registry

VERSION = "Gatepost_1.0 GatepostTunnels1"
_TEN_YEARS_S = 3652 * 86400.0


def make_bastion_keys(directory: Path) -> dict[str, str]:
    """Make what a new bastion needs below its machine directory; gives the public lines by name.

    `host_ca` goes into the appliances' tunnel.bastion_cas, `engineer_ca` into their tunnel.engineer_cas, `host`
    into the engineers' known_hosts. Keys that exist are kept.
    """
    keys = directory / "keys"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {"host": "host_ed25519", "host_ca": "host_ca_ed25519", "engineer_ca": "engineer_ca_ed25519"}
    return {name: public_text(ensure_key(keys / file, f"gatepost {name}")) for name, file in files.items()}


def sign(
    directory: Path,
    public_key: str,
    *,
    engineer: str,
    case: str,
    serials: Sequence[str],
    minutes: float = 15,
    forwarding: bool = False,
) -> asyncssh.SSHCertificate:
    """Sign an engineer's certificate with this bastion's authority: `gatepost bastion ca sign`."""
    certificate = sign_engineer(
        read_key(directory / "keys" / "engineer_ca_ed25519"),
        public_key,
        engineer=engineer,
        case=case,
        serials=serials,
        life_s=minutes * 60,
        forwarding=forwarding,
    )
    audit = AuditLog(directory / "log" / "signed.jsonl")
    audit.write("signed", engineer=engineer, case=case, serials=list(serials), minutes=minutes, forwarding=forwarding)
    audit.close()
    return certificate


class Bastion:
    """All services of the bastion and the verbs of its control socket."""

    def __init__(self, section: BastionSection, directory: Path) -> None:
        keys = directory / "keys"
        host_key = read_key(keys / "host_ed25519")
        host_ca = read_key(keys / "host_ca_ed25519")
        engineer_ca = read_key(keys / "engineer_ca_ed25519")
        names = section.names
        certificate = host_certificate(host_ca, host_key, key_id="bastion", principals=names, life_s=_TEN_YEARS_S)
        self._section = section
        self._audit = AuditLog(directory / "log" / "audit.jsonl")
        self._visits: dict[str, Visit] = {}
        self._presence = Presence(self._audit)
        self.registry = Registry(directory / "appliances")
        recorder = Recorder(directory / "recordings", self._audit)
        front = Front(
            section=section,
            ca=engineer_ca,
            authorities=(public_text(engineer_ca),),
            registry=self.registry,
            presence=self._presence,
            recorder=recorder,
            audit=self._audit,
            visits=self._visits,
        )
        self.appliances = SshListener(
            "appliances",
            [(section.address, port) for port in section.ports],
            server_options(
                lambda: ApplianceServer(self.registry, self._presence, self._audit),
                [(host_key, certificate)],
                version=VERSION,
                login_timeout_s=section.login_timeout_s,
                keepalive_s=section.keepalive_s,
            ),
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
            self.appliances,
            self.engineers,
            recorder,
            Liveness(self._presence, section.liveness_s),
        ]

    async def tunnels(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `tunnels`: who is connected, and whether anybody answers there."""
        connected = {tunnel.name for tunnel in self._presence.all()}
        away = [name.upper() for name in self.registry.names() if name not in connected]
        return {"tunnels": self._presence.shown(), "away": away}

    async def sessions(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `sessions`: which engineers are where."""
        return {"sessions": [visit.shown() for visit in self._visits.values()]}

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

    async def run(self, scope: Scope) -> None:
        """Prove all tunnels each interval until stopping."""
        scope.ready()
        while await scope.pause(self._interval_s):
            for tunnel in self._presence.all():
                await self._presence.prove(tunnel)
