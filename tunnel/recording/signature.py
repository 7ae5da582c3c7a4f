"""Signatures of recordings in the form of `ssh-keygen -Y`, namespace `gatepost-recording`.

Made with a `Signer` that a daemon hands in: on the bastion keyd's recording key, on an appliance its host key.
What is signed is the SHA-512 of a file, as `ssh-keygen -Y verify` computes it.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable

from asyncssh import SSHKey, validate_sshsig

from core.ssh import key as ssh_key

NAMESPACE = "gatepost-recording"
PRINCIPAL = "gatepost"
"""The name in the allowed signers lines that we write."""

Signer = Callable[[bytes], Awaitable[str]]
"""Takes a SHA-512 digest, gives the armoured signature. Raises `GatepostError` or `OSError` if it cannot now."""


def sign_digest(key: SSHKey, digest: bytes) -> str:
    """Sign a SHA-512 (64 octets) or SHA-256 (32 octets) digest."""
    return ssh_key.sign_digest(key, digest, NAMESPACE)


def signer_of(key: SSHKey) -> Signer:
    """Make a signer of a key that this process holds."""

    async def sign(digest: bytes) -> str:
        return sign_digest(key, digest)

    return sign


def allowed_line(public: str) -> str:
    """Give the line of an allowed signers file that trusts a public key for recordings."""
    return f'{PRINCIPAL} namespaces="{NAMESPACE}" {" ".join(public.split()[:2])}'


def is_signed(digest: bytes, signature: bytes, allowed: str) -> bool:
    """Tell whether a signature of a digest is by one of the signers in `allowed` and made for recordings."""
    blob = _blob(signature)
    # The library takes the namespace from the signature itself.
    expected = len(NAMESPACE).to_bytes(4, "big") + NAMESPACE.encode()
    key, rest = _string(blob[10:])
    if not key or not rest.startswith(expected):
        return False
    encoded = base64.b64encode(key).decode("ascii")
    for line in allowed.splitlines():
        if encoded in line.split() and not line.startswith("#"):
            principal = line.split(None, 1)[0].split(",")[0].strip('"').replace("*", "x").replace("?", "x")
            try:
                if validate_sshsig(digest, signature, principal, line.encode(), is_hashed=True):
                    return True
            except ValueError:
                continue
    return False


def _blob(signature: bytes) -> bytes:
    lines = signature.strip().splitlines()
    if not lines or lines[0] != b"-----BEGIN SSH SIGNATURE-----":
        return b""
    try:
        return binascii.a2b_base64(b"".join(lines[1:-1]))
    except binascii.Error:
        return b""


def _string(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:4], "big")
    return data[4 : 4 + length], data[4 + length :]
