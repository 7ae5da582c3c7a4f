"""One of several bastions: its directory entries, its listener for the others, and its way to them, put together.

For `assembly.py`. With no `peer_port` there is the directory only. Raises GatepostError (78) for certificates that
cannot be used.
"""

from pathlib import Path

from core.lifecycle import Service
from tunnel.audit import AuditLog
from tunnel.bastion.entitlement import Approved, Entitlements
from tunnel.bastion.hours import is_within
from tunnel.bastion.peer.directory import Directory
from tunnel.bastion.peer.link import Links
from tunnel.bastion.peer.listener import PeerListener
from tunnel.bastion.peer.wire import contexts
from tunnel.bastion.presence import Presence
from tunnel.bastion.store import Case, EngineerEntry, Store
from tunnel.config import CaseSection
from tunnel.identity import Engineer
from tunnel.keyd.client import Keyd


class PeerNode:
    """What a bastion has to do with the others."""

    def __init__(
        self,
        section: CaseSection,
        machine: Path,
        *,
        store: Store,
        presence: Presence,
        keyd: Keyd,
        audit: AuditLog,
    ) -> None:
        asked, asking = contexts(section, machine) if section.peer_port else (None, None)
        self.directory = Directory(section, store, presence, audit, Links(asking) if asking else None)
        self.services: list[Service] = [self.directory]
        if asked is not None:
            self.services.append(
                PeerListener(
                    section,
                    asked,
                    store=store,
                    presence=presence,
                    directory=self.directory,
                    entitlements=Entitlements(store, keyd, timely=_timely, approved=_approved_by(section)),
                    audit=audit,
                )
            )


def _timely(entry: EngineerEntry, _source: str, at: float) -> str:
    """Say why an engineer may not work at this time. The source is seen and checked by the node that asks."""
    return "" if is_within(entry.hours, at) else f"{entry.name} may not work at this time"


def _approved_by(section: CaseSection) -> Approved:
    """Say why a case is not approved; a command has been asked by the node that asks."""

    async def approved(case: Case, _engineer: Engineer, _source: str, _hold: bool) -> str:
        waits = section.approval == "second-person" and not case.approved_at
        return f"case {case.number} is not approved" if waits else ""

    return approved
