"""Puts the parts of the bastion together, for `daemons/bastion.py` and for tests.

Files below the machine's directory: `keys/bastion_host_ed25519` and what `authority.py` keeps, the store,
`recordings/`, `log/audit.jsonl`. Both authorities are keyd's, asked over `run/keyd.sock`. Raises GatepostError (78)
for a key that is missing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.control import Handler
from core.errors import GatepostError
from core.given import given_or
from core.lifecycle import Service
from core.metrics import Counters
from core.ssh import SshListener, read_key
from tunnel.audit import AuditLog
from tunnel.bastion.appliance_side import ApplianceTerms
from tunnel.bastion.approval import Approvals
from tunnel.bastion.authority import Authority, HostKey
from tunnel.bastion.entitlement import Entitlements, timely
from tunnel.bastion.figures import Figures
from tunnel.bastion.fronts import Fronts, tls_context
from tunnel.bastion.liveness import Liveness
from tunnel.bastion.opening import After, Opened
from tunnel.bastion.oversight import Oversight
from tunnel.bastion.peer.node import PeerNode
from tunnel.bastion.presence import Presence
from tunnel.bastion.reach import Way
from tunnel.bastion.session import Front
from tunnel.bastion.store import Store, open_store
from tunnel.bastion.visit import Visits
from tunnel.config import BastionSection
from tunnel.keyd.client import SOCKET, Keyd
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import Signer


@dataclass(frozen=True, slots=True)
class Bastion:
    """The bastion in one daemon: what runs, and what its control socket is asked for."""

    store: Store
    presence: Presence
    visits: Visits
    counters: Counters
    appliances: SshListener
    engineers: SshListener
    oversight: Oversight
    figures: Figures
    services: list[Service]

    @property
    def verbs(self) -> dict[str, Handler]:
        """What the control socket answers."""
        return {
            "tunnels": self.tunnels,
            "sessions": self.sessions,
            "watch": self.oversight.watch,
            "terminate": self.oversight.terminate,
            "recheck": self.oversight.recheck,
            "status": self.figures.status,
            "database_probe": self.database_probe,
        }

    async def tunnels(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `tunnels`: who is connected, and whether anybody answers there."""
        connected = {tunnel.name for tunnel in self.presence.all()}
        away = [one.serial for one in await self.store.appliances.all() if one.serial not in connected]
        return {"tunnels": self.presence.shown(), "away": away}

    async def database_probe(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `database_probe`: why the store cannot be read, '' if it can."""
        try:
            await self.store.engineers.get("")
        except GatepostError as error:
            return {"problem": error.text}
        return {"problem": ""}

    async def sessions(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `sessions`: which engineers are where."""
        return {"sessions": [visit.shown() for visit in self.visits]}


def build_bastion(section: BastionSection, directory: Path) -> Bastion:
    """Build the bastion from a machine directory."""
    host_key = read_key(given_or(directory / "keys" / "bastion_host_ed25519"))
    keyd = Keyd(directory / "run" / SOCKET)
    audit = AuditLog(directory / "log" / "audit.jsonl")
    counters = Counters(directory / "state" / "bastion.counters.json")
    visits, presence = Visits(), Presence(audit, counters)
    store = open_store(section.database, directory)

    def renewed(host_key: HostKey) -> None:
        fronts.certified(host_key)

    authority = Authority(keyd, host_key, names=section.names, directory=directory, renewed=renewed)
    recorder = Recorder(directory / "recordings", audit, section, signed_by(keyd))
    peers = PeerNode(section, directory, store=store, presence=presence, keyd=keyd, audit=audit)
    entitlements = Entitlements(
        store,
        keyd,
        timely=timely,
        approved=Approvals(section, store.cases, audit).why_not,
        node=peers.directory.node,
        elsewhere=peers.directory.certify,
    )
    way = Way(
        store,
        presence,
        entitlements,
        timeout_s=section.login_timeout_s,
        keepalive_s=section.keepalive_s,
        hop_port=section.hop_port,
        elsewhere=peers.directory.elsewhere,
    )
    front = Front(
        section=section,
        way=way,
        entitlements=entitlements,
        recorder=recorder,
        audit=audit,
        counters=counters,
        visits=visits,
    )
    terms = ApplianceTerms(
        store=store,
        presence=presence,
        audit=audit,
        counters=counters,
        registration_required=section.registration == "required",
    )
    fronts = Fronts(terms, front, authority, host_key=host_key, tls=tls_context(section, directory))
    oversight = Oversight(visits, presence, entitlements, audit=audit, counters=counters, enrolled=store.appliances.all)
    figures = Figures(counters, presence, visits, recorder, (fronts.appliances, fronts.engineers))
    opened = Opened(store)
    services: list[Service] = [
        opened,
        authority,
        After(opened, fronts.appliances),
        After(opened, fronts.engineers),
        *(After(opened, one) for one in peers.services),
        recorder,
        oversight,
        Liveness(presence, store, section.liveness_s),
        counters,
        figures,
    ]
    return Bastion(store, presence, visits, counters, fronts.appliances, fronts.engineers, oversight, figures, services)


def signed_by(keyd: Keyd) -> Signer:
    """Give the way to have a recording signed."""

    async def sign(digest: bytes) -> str:
        return await keyd.sign_recording(digest.hex())

    return sign
