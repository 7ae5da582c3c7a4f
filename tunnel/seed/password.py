"""One-time passwords of an activation, and the verifiers that the appliance keeps of them.

Password n is the first 16 characters of base32(HMAC-SHA256(code key, "pw" n)), n in four octets: 80 bits. The
appliance computes verifiers of the first `COUNT` when access is enabled and drops the code key, so nothing on its
disk gives a password. Each password is taken once: with it go its verifier and those before it. `LOOK_AHEAD` unused
ones may be skipped (given out and never typed). When none is left, access has to be enabled anew.

A verifier is `NUMBER$SALT$HASH`, the salt one for all of an activation, so that a try costs one scrypt whether it is
right or wrong. The caller makes the shorter list durable before it lets anybody in. About 4 ms each, not on the loop.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

COUNT = 50
"""Passwords of one activation."""
LOOK_AHEAD = 5
LENGTH = 16


def password(code_key: bytes, number: int) -> str:
    """Give password `number`, from 0 on."""
    digest = hmac.digest(code_key, b"pw" + number.to_bytes(4, "big"), "sha256")
    return base64.b32encode(digest).decode("ascii")[:LENGTH]


def shown(text: str) -> str:
    """Give a password in groups of four, as it is read out."""
    return "-".join(text[at : at + 4] for at in range(0, LENGTH, 4))


def verifiers(code_key: bytes, count: int = COUNT) -> tuple[str, ...]:
    """Make what the appliance keeps, for the first `count` passwords."""
    salt = secrets.token_bytes(16)
    return tuple(f"{n}${salt.hex()}${_hash(password(code_key, n), salt)}" for n in range(count))


def accept(kept: Sequence[str], typed: str) -> tuple[str, ...] | None:
    """Give the verifiers that are left after this password was taken; None if it is not to be taken.

    kept has the first unused one first. Case, blanks and dashes of what was typed do not matter.
    """
    if not kept:
        return None
    salt = kept[0].split("$")[1]
    text = re.sub(r"[\s-]", "", typed[:64]).upper()
    found = _hash(text, bytes.fromhex(salt))
    # Every one is compared, so that the time taken tells nothing.
    fits = [hmac.compare_digest(each.rpartition("$")[2], found) for each in kept[: LOOK_AHEAD + 1]]
    return tuple(kept[fits.index(True) + 1 :]) if any(fits) else None


def _hash(text: str, salt: bytes) -> str:
    return hashlib.scrypt(text.encode(), salt=salt, n=1 << 11, r=8, p=1, dklen=32).hex()
