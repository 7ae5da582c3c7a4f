"""Key agreement: X25519 between two machines, HKDF over what they agreed on, and a signing key made from the result.

With `pki` and `chain` the only module that touches `cryptography`. Called by the seed scheme (`tunnel/seed/`), by
keyd and by whoever makes a machine's keys. A private key on disk is one line of base64 in a file of mode 0600, its
public half the same beside it in FILE.pub. Raises `GatepostError`: 65 for a key that nobody could agree with, 78 for
a file that is not a key.
"""

import base64
import binascii
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.disk import Disk, replace_file
from core.errors import EX_CONFIG, EX_DATAERR, GatepostError

KEY_OCTETS = 32


def make_private() -> bytes:
    """Make an X25519 private key, 32 octets."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_of(private: bytes) -> bytes:
    """Give the public half of an X25519 private key, 32 octets."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """Give the secret that both sides come to (RFC 7748 6.1), 32 octets.

    A public key of small order would make it all zero, known to everybody: that is a `GatepostError` (65).
    """
    if len(public) != KEY_OCTETS:
        raise GatepostError(f"an X25519 public key has {KEY_OCTETS} octets, not {len(public)}", EX_DATAERR)
    try:
        secret = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        secret = bytes(KEY_OCTETS)
    if not any(secret):
        raise GatepostError("this X25519 public key agrees on nothing secret; it is forged or damaged", EX_DATAERR)
    return secret


def expand(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive `length` octets by HKDF with SHA-256 (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def signing_key_text(secret: bytes) -> bytes:
    """Give the Ed25519 private key whose 32 octets these are (RFC 8032 5.1.5), in OpenSSH's form."""
    return Ed25519PrivateKey.from_private_bytes(secret).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def encode(key: bytes) -> str:
    """Give a key as one word of base64."""
    return base64.b64encode(key).decode("ascii")


def decode(text: str) -> bytes:
    """Read a key from base64. Raises ValueError if it is not 32 octets."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_OCTETS:
        raise ValueError("not an X25519 key: 32 octets in base64 are needed")
    return key


def numbered(text: str) -> tuple[int, bytes]:
    """Read a support key as a configuration names it, `NUMBER BASE64`: gives the number, 1 to 31, and the public key.

    Raises ValueError.
    """
    number, _, key = text.strip().partition(" ")
    if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= 31:
        raise ValueError("a support key is its number, 1 to 31, a blank and the key in base64")
    return int(number), decode(key)


def write_key(path: Path, private: bytes) -> None:
    """Write a private key to path (0600) and its public half to path.pub, each atomically and synced."""
    disk = Disk()
    replace_file(disk, path, f"{encode(private)}\n".encode(), mode=0o600)
    public = f"{encode(public_of(private))}\n".encode()
    replace_file(disk, path.with_name(path.name + ".pub"), public, mode=0o644)


def read_key(path: Path) -> bytes:
    """Read a private key file. Raises status 78, naming the file."""
    try:
        return decode(path.read_bytes().decode("ascii", "replace"))
    except OSError as error:
        raise GatepostError(f"{path}: the exchange key cannot be read: {error.strerror}", EX_CONFIG) from error
    except ValueError as error:
        raise GatepostError(f"{path}: {error}", EX_CONFIG) from error


def ensure_key(path: Path) -> bytes:
    """Read the private key at path, or make and write one if there is no file."""
    if not path.exists():
        write_key(path, make_private())
    return read_key(path)
