"""Who is behind a connection: names of appliances, key ids and certificates of engineers.

Signed by keyd, read by the bastion and by the appliance's service endpoint. A certificate
names the appliances it opens as its principals and the engineer and case in its key id; both ends check both.
"""

import re
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from asyncssh import SSHCertificate, SSHKey

from core import clock
from core.errors import EX_USAGE, GatepostError
from core.ssh import CertificateFacts, user_certificate

SERVICE_USER = "service"
SERVICE_PORT = 22
SERVICE_SOCKET = "console-service.sock"
"""In the machine's run directory: where the console daemon takes service logins."""
SESSION_ENDED = "ENDED@gatepost"
"""A signal of our own (RFC 4254 6.10): the bastion ends this session. Without it a channel that goes was only lost."""
LIVENESS_ORIGIN = "liveness"
"""The originator that the bastion gives when it only looks whether the console answers."""
VIA_BASTION = "!bastion"
"""Ends the key id of a certificate that the bastion made for a session it records; no key id we sign for an
engineer can contain it."""
MAX_CERTIFICATE_S = 24 * 3600.0

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_ID = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})@([A-Za-z0-9][A-Za-z0-9._-]{0,63})#([0-9a-f-]{36})(!bastion)?")


@dataclass(frozen=True, slots=True)
class Engineer:
    """The person behind a certificate."""

    name: str
    case: str
    key_id: str
    relayed: bool
    """Whether the certificate was made by the bastion for a session that it records."""
    serials: tuple[str, ...]
    until_at: float


def is_name(text: str) -> bool:
    """Tell whether text may stand as an appliance's name: lower case, no wildcard, no quote."""
    return _NAME.fullmatch(text) is not None


def is_word(text: str) -> bool:
    """Tell whether text may stand as the name of an engineer or the number of a case."""
    return _WORD.fullmatch(text) is not None


def engineer_of(facts: CertificateFacts) -> Engineer | None:
    """Read the engineer from a certificate; None if its key id is not one that we sign."""
    match = _KEY_ID.fullmatch(facts.key_id)
    if match is None:
        return None
    return Engineer(
        name=match[1],
        case=match[2],
        key_id=facts.key_id.removesuffix(VIA_BASTION),
        relayed=match[4] is not None,
        serials=facts.principals,
        until_at=facts.valid_before_at,
    )


def unfit(facts: CertificateFacts, name: str) -> str:
    """Say why a certificate of an authority that we take does not let its holder in as `name`; '' if nothing is wrong.

    For its holder's eyes before the login is complete: no word of it is of anything but the certificate itself.
    """
    now = clock.now()
    if now >= facts.valid_before_at:
        return f"your certificate ran out at {_moment(facts.valid_before_at)}; it is {_moment(now)} here"
    if now < facts.valid_after_at:
        return f"your certificate is good only from {_moment(facts.valid_after_at)}; it is {_moment(now)} here"
    if name in {one.lower() for one in facts.principals} - set(facts.principals):
        return f"your certificate has {name.upper()} in capitals; serial numbers are in lower case there"
    if name not in facts.principals:
        return f"your certificate is not for {name.upper()}, but for {', '.join(facts.principals).upper() or 'nothing'}"
    return ""


def _moment(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "the end of time"


def sign_engineer(
    ca: SSHKey,
    public_key: str | SSHKey,
    *,
    engineer: str,
    case: str,
    serials: Sequence[str],
    life_s: float = 900.0,
    terminal: bool = True,
    forwarding: bool = False,
) -> SSHCertificate:
    """Sign a certificate for an engineer, one case and the appliances of that case.

    forwarding also allows `ssh -J` straight through, where the bastion sees no content and records none.
    Raises GatepostError (64) for a name, case, serial or life that cannot be signed.
    """
    if not is_word(engineer) or not is_word(case):
        raise GatepostError("engineer and case are letters, digits, '.', '_' and '-', at most 64", EX_USAGE)
    names = [serial.lower() for serial in serials]
    if not names or not all(is_name(name) for name in names):
        raise GatepostError("name at least one appliance by its serial number", EX_USAGE)
    if not 0 < life_s <= MAX_CERTIFICATE_S:
        raise GatepostError("a certificate lives more than 0 minutes and at most 1440, which is 24 hours", EX_USAGE)
    return user_certificate(
        ca,
        public_key,
        key_id=f"{engineer}@{case}#{uuid.uuid4()}",
        principals=names,
        life_s=life_s,
        serial=certificate_serial(),
        permit_pty=terminal,
        permit_port_forwarding=forwarding,
    )


def authorised(ca_lines: Sequence[str], name: str) -> str:
    """Give the authorized_keys text that takes certificates of these authorities for one appliance.

    The principals of such a line are patterns, so a name that is not plain is a ValueError.
    """
    if not is_name(name):
        raise ValueError(f"not the name of an appliance: {name!r}")
    return "".join(f'cert-authority,principals="{name}" {line.strip()}\n' for line in ca_lines)


def certificate_serial() -> int:
    """Number certificates by the time they were made, with random low bits."""
    return (int(time.time()) << 16) | secrets.randbits(16)
