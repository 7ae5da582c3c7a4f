"""From a seed to the keys of one activation, the same on the appliance and in keyd.

    Z    = X25519(appliance, support)
    psk  = scrypt(seed, salt "gatepost1/seed|" serial, N 2^15, r 8, p 1), 32 octets: makes guessing a chosen seed slow
    okm  = HKDF-SHA256(Z, salt psk, info, 96 octets)
    info = "gatepost1" lp(serial) lp(A) lp(S) key_id(1) day(2) lp(mode)

The first 32 octets are the service key of this activation, the next make its one-time passwords, the last its
fingerprint. Nothing here is kept: whoever calls drops the secret when it has what it needs. docs/protocol/seed.md has
the layout of `info` and test vectors. `stretch` takes a tenth of a second and 32 MiB: not on the loop.
"""

import hashlib
import hmac
from dataclasses import KW_ONLY, dataclass, field

from asyncssh import SSHKey

from core.agreement import expand
from core.ssh.key import key_of
from tunnel.seed.code import Seed

NAME = b"gatepost1"
TUNNEL, SSHACCESS = "TUNNEL", "SSHACCESS"
MODES = (TUNNEL, SSHACCESS)


@dataclass(frozen=True, slots=True)
class Derived:
    """What both ends come to."""

    key: SSHKey
    """The activation's own authority: it may log in itself, and certificates that it signs may."""
    secret: bytes = field(repr=False)
    """The 32 octets of that key."""
    code_key: bytes = field(repr=False)
    """Makes the one-time passwords."""
    fingerprint: str
    """16 hex digits that both ends may show to anybody."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a derivation is bound to: this appliance, these public keys, this day and this mode."""

    serial: str
    appliance_key: bytes
    support_key: bytes
    _: KW_ONLY
    key_id: int
    day: int
    mode: str

    def info(self) -> bytes:
        """Give it in the octets that HKDF takes."""
        words = (self.serial.lower().encode(), self.appliance_key, self.support_key)
        numbers = self.key_id.to_bytes(1, "big") + self.day.to_bytes(2, "big")
        return NAME + b"".join(map(_counted, words)) + numbers + _counted(self.mode.upper().encode())


def derive(
    shared: bytes,
    seed: Seed,
    *,
    serial: str,
    appliance_key: bytes,
    support_key: bytes,
    key_id: int,
    day: int,
    mode: str,
) -> Derived:
    """Derive the keys of one activation; `shared` is what X25519 gave, the two keys are the public ones.

    mode is `tunnel` or `sshaccess` in any case. Takes as long as `stretch`.
    """
    bound = Binding(serial, appliance_key, support_key, key_id=key_id, day=day, mode=mode)
    return derived(expanded(shared, stretch(seed, serial), bound))


def stretch(seed: Seed, serial: str) -> bytes:
    """Make the seed slow to guess; takes about 0.1 s and 32 MiB."""
    salt = NAME + b"/seed|" + serial.lower().encode()
    return hashlib.scrypt(seed.text.encode(), salt=salt, n=1 << 15, r=8, p=1, maxmem=64 << 20, dklen=32)


def expanded(shared: bytes, stretched: bytes, bound: Binding) -> bytes:
    """Give the 96 octets that all keys of the activation come from."""
    return expand(shared, stretched, bound.info(), 96)


def derived(okm: bytes) -> Derived:
    """Read the 96 octets of the derivation."""
    return Derived(key_of(okm[:32]), okm[:32], okm[32:64], fingerprint_of(okm))


def fingerprint_of(okm: bytes) -> str:
    """Give the fingerprint alone, which is enough to find out whether a seed fits."""
    return hmac.digest(okm[64:96], b"fp", "sha256")[:8].hex()


def _counted(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets
