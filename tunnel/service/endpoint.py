"""Where an engineer's connection ends on the appliance: the console's unix socket, and all that stands behind it.

It runs in the console daemon, with the appliance's own host key; `tunnel-client` only carries bytes to it. So the
session is the console's own, the engineer's certificate is checked end to end, and the process that talks to the
bastion never sees what is typed. Why: docs/adr/0005-inner-endpoint-in-the-console.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from core.given import given_or
from core.lifecycle import Service
from core.pki import user_name
from core.ssh import AcceptLimits, SshListener, read_key, server_options
from tunnel.appliance import activation
from tunnel.audit import AuditLog
from tunnel.config import TunnelSection
from tunnel.identity import SERVICE_SOCKET
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import signer_of
from tunnel.recording.subject import Policy
from tunnel.service.access import Access
from tunnel.service.desk import Desk, DeskTerms
from tunnel.service.door import Guard, door
from tunnel.service.hop import HopRule
from tunnel.service.login import ServiceServer
from tunnel.service.notice import Notices, Surroundings
from tunnel.service.verb import Verb, Verbs

AUDIT_FILE = "service.jsonl"
"""In the machine's log directory: the chained log of what support did."""
RECORDINGS = "recordings"
LOGIN_S = 60.0
"""A one-time password is typed by hand."""


@dataclass(frozen=True, slots=True)
class ServiceTerms:
    """What the endpoint needs to know of its machine."""

    name: str
    """The appliance's serial in lower case: the principal that a certificate must carry."""
    activation_file: Path


@dataclass(frozen=True, slots=True)
class ServiceSide:
    """All parts of the service account in one console."""

    listener: SshListener
    access: Access
    desk: Desk
    recorder: Recorder
    verbs: dict[str, Verb]

    @property
    def services(self) -> list[Service]:
        """What the daemon runs; the recorder last, so that it stops last."""
        return [self.listener, self.desk, self.recorder]

    def door(self, sources: Sequence[str]) -> Callable[[Guard], Guard]:
        """Give what also lets support in on the operators' port, from these sources."""
        return lambda guard: door(guard, self.access, self.desk, sources)


def build_endpoint(section: TunnelSection, serial: str, directory: Path, around: Surroundings) -> ServiceSide:
    """Build the service account from a machine directory, for `daemons/console.py`."""
    name = user_name(serial)
    strict = section.recording == "strict"
    desk = DeskTerms(
        name=name,
        machine=directory,
        service_user=section.service_user,
        hops=HopRule(section.hop_networks, section.hop_port),
        policy=Policy.STRICT if strict else Policy.BEST_EFFORT,
        reattach_s=section.reattach_minutes * 60,
    )
    terms = ServiceTerms(name, directory / "state" / activation.FILE_NAME)
    host_key = read_key(given_or(directory / "keys" / "host_ed25519"))
    return assemble(
        directory / "run" / SERVICE_SOCKET, host_key, terms, desk_terms=desk, section=section, around=around
    )


def assemble(
    socket_path: Path,
    host_key: asyncssh.SSHKey,
    terms: ServiceTerms,
    *,
    desk_terms: DeskTerms,
    section: TunnelSection,
    around: Surroundings,
) -> ServiceSide:
    """Put the parts together."""
    machine = desk_terms.machine
    audit = AuditLog(machine / "log" / AUDIT_FILE)
    notices = Notices(around, audit)
    access = Access(terms.name, terms.activation_file, notices, disable=around.disable)
    recorder = Recorder(machine / RECORDINGS, audit, section, signer_of(host_key))
    desk = Desk(desk_terms, access, around.session, recorder, notices)
    options = server_options(
        lambda: ServiceServer(access, desk),
        [host_key],
        version="Gatepost_1.0 GatepostService1",
        login_timeout_s=LOGIN_S,
        interactive=True,
        old_clients=section.old_clients,
    )
    limits = AcceptLimits(
        unauthenticated=20, early_drop=20, unauthenticated_per_source=20, connections=100, login_timeout_s=LOGIN_S
    )
    listener = SshListener("console-service", [socket_path], options, limits=limits)
    return ServiceSide(listener, access, desk, recorder, Verbs(desk, notices, machine / RECORDINGS).all())
