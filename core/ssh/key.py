"""SSH keys and certificates: making, reading, writing, and the texts in which they are exchanged.

Called by `gatepost init`, pairing, the tunnel and the bastion. Keys are Ed25519. A private key file is 0600
and replaced atomically. Raises `GatepostError` (status 78) for a file that is not what it should be.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncssh import (
    KeyExportError,
    KeyImportError,
    SSHCertificate,
    SSHKey,
    create_sshsig,
    generate_private_key,
    import_certificate,
    import_private_key,
    import_public_key,
)

from core.agreement import signing_key_text
from core.disk import Disk, replace_file
from core.errors import EX_CONFIG, EX_DATAERR, EX_NOINPUT, GatepostError

CLOCK_SKEW_S = 60
"""Certificates begin this long before they are made."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says about its holder."""

    key_id: str
    serial: int
    principals: tuple[str, ...]
    valid_after_at: float
    valid_before_at: float


def make_key(comment: str = "") -> SSHKey:
    """Make an Ed25519 private key."""
    return generate_private_key("ssh-ed25519", comment=comment or None)


def key_of(secret: bytes) -> SSHKey:
    """Give the Ed25519 private key whose 32 octets these are; the same octets give the same key."""
    return import_private_key(signing_key_text(secret))


def read_key(path: Path) -> SSHKey:
    """Read a private key file without passphrase."""
    try:
        return import_private_key(path.read_bytes())
    except OSError as error:
        raise GatepostError(f"{path}: the SSH key cannot be read: {error.strerror}", EX_CONFIG) from error
    except KeyImportError as error:
        raise GatepostError(f"{path}: not an SSH private key without passphrase: {error}", EX_CONFIG) from error


def write_key(path: Path, key: SSHKey) -> None:
    """Write a private key to path (0600) and its public half to path.pub, each atomically and synced."""
    disk = Disk()
    replace_file(disk, path, key.export_private_key(), mode=0o600)
    replace_file(disk, path.with_name(path.name + ".pub"), (public_text(key) + "\n").encode(), mode=0o644)


def ensure_key(path: Path, comment: str = "") -> SSHKey:
    """Read the key at path, or make and write one if there is no file."""
    if not path.exists():
        write_key(path, make_key(comment))
    return read_key(path)


def public_text(key: SSHKey) -> str:
    """Give the public half as one line `ssh-ed25519 AAAA… [comment]`."""
    try:
        return key.export_public_key().decode("ascii").strip()
    except KeyExportError as error:
        raise GatepostError(f"this SSH key has no public form: {error}") from error


def parse_public(text: str) -> SSHKey:
    """Read one public key line. Raises ValueError if it is not one."""
    try:
        return import_public_key(text.strip())
    except KeyImportError as error:
        raise ValueError(f"not an SSH public key: {error}") from error


def read_public(path: Path) -> str:
    """Read the public key line of a .pub file that a person named. Raises status 66 or 65, with the remedy."""
    try:
        text = path.read_text().strip()
        if "PRIVATE KEY" in text:
            raise GatepostError(f"{path} is a private key, which stays with its owner; give the .pub file", EX_DATAERR)
        parse_public(text)
    except OSError as error:
        raise GatepostError(f"{path}: the public key cannot be read: {error.strerror}", EX_NOINPUT) from error
    except ValueError:
        raise GatepostError(f"{path}: not a public key line; give the .pub file of an SSH key", EX_DATAERR) from None
    return text


def same_key(one: str | SSHKey, other: str | SSHKey) -> bool:
    """Tell whether two public keys are the same, whatever their comments."""
    first, second = (k if isinstance(k, SSHKey) else parse_public(k) for k in (one, other))
    return bool(first.public_data == second.public_data)


def fingerprint(key: str | SSHKey) -> str:
    """Give `SHA256:…` as `ssh-keygen -l` shows it."""
    return (key if isinstance(key, SSHKey) else parse_public(key)).get_fingerprint()


def user_certificate(
    ca: SSHKey,
    holder: str | SSHKey,
    *,
    key_id: str,
    principals: Sequence[str],
    life_s: float,
    serial: int = 0,
    permit_pty: bool = False,
    permit_port_forwarding: bool = False,
) -> SSHCertificate:
    """Sign a user certificate. Nothing is permitted that is not named; empty principals are a ValueError."""
    if not principals:
        raise ValueError("a user certificate without principals would be good for every user")
    now = int(time.time())
    return ca.generate_user_certificate(
        holder if isinstance(holder, SSHKey) else parse_public(holder),
        key_id,
        serial=serial,
        principals=list(principals),
        valid_after=now - CLOCK_SKEW_S,
        valid_before=now + int(life_s),
        permit_x11_forwarding=False,
        permit_agent_forwarding=False,
        permit_port_forwarding=permit_port_forwarding,
        permit_pty=permit_pty,
        permit_user_rc=False,
    )


def host_certificate(
    ca: SSHKey, host_key: str | SSHKey, *, key_id: str, principals: Sequence[str], life_s: float
) -> SSHCertificate:
    """Sign a host certificate for the names in principals; empty principals are a ValueError."""
    if not principals:
        raise ValueError("a host certificate without principals would be good for every host")
    now = int(time.time())
    return ca.generate_host_certificate(
        host_key if isinstance(host_key, SSHKey) else parse_public(host_key),
        key_id,
        principals=list(principals),
        valid_after=now - CLOCK_SKEW_S,
        valid_before=now + int(life_s),
    )


def certificate_text(certificate: SSHCertificate) -> str:
    """Give a certificate as the one line of a `-cert.pub` file."""
    return certificate.export_certificate().decode("ascii").strip()


def read_certificate(path: Path) -> SSHCertificate:
    """Read a `-cert.pub` file."""
    try:
        return import_certificate(path.read_bytes())
    except OSError as error:
        raise GatepostError(f"{path}: the certificate cannot be read: {error.strerror}", EX_CONFIG) from error
    except KeyImportError as error:
        raise GatepostError(f"{path}: not an SSH certificate: {error}", EX_CONFIG) from error


def certificate_facts(certificate: SSHCertificate) -> CertificateFacts:
    """Read who a certificate names; asyncssh keeps these in private fields, a test watches over them."""
    return CertificateFacts(
        key_id=certificate._key_id,  # type: ignore[attr-defined]
        serial=certificate._serial,  # type: ignore[attr-defined]
        principals=tuple(certificate.principals),  # type: ignore[attr-defined]
        valid_after_at=float(certificate._valid_after),  # type: ignore[attr-defined]
        valid_before_at=float(certificate._valid_before),  # type: ignore[attr-defined]
    )


def signed_by(certificate: SSHCertificate, authority: str | SSHKey) -> bool:
    """Tell whether a certificate names this authority as its signer; asyncssh checked the signature when it read it."""
    return same_key(certificate.signing_key, authority)  # type: ignore[attr-defined]


def sign_digest(key: SSHKey, digest: bytes, namespace: str) -> str:
    """Sign content by its SHA-256 or SHA-512, as `ssh-keygen -Y sign` would sign the content; armored."""
    name = {32: "sha256", 64: "sha512"}[len(digest)]
    return create_sshsig(key, digest, is_hashed=True, hash_name=name, namespace=namespace).decode("ascii")


def known_hosts_line(host: str, public: str, port: int = 22) -> str:
    """Give the known_hosts line that pins a host key; other ports than 22 stand in brackets."""
    name = host if port == 22 else f"[{host}]:{port}"
    return f"{name} {_bare(public)}"


def known_hosts_authority(patterns: Sequence[str], ca_public: str) -> str:
    """Give the known_hosts line that trusts a host CA for the names in patterns."""
    return f"@cert-authority {','.join(patterns)} {_bare(ca_public)}"


def _bare(public: str) -> str:
    return " ".join(public_text(parse_public(public)).split()[:2])
