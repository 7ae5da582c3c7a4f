"""Passwords as the configuration keeps them: Argon2id hashes and SCRAM-SHA-256 verifiers, made and checked.

The one module that knows argon2-cffi. `gatepost password` makes them, `mail/login/` checks what a peer claims.
`matches` takes tens of milliseconds and up to the memory that the hash asks for: it belongs on a thread.
Raises `ValueError` for a password or a stored form that cannot be used; logs nothing.
"""

import hmac
import re
import secrets
from typing import Final

import argon2

from protocol.smtp.sasl import make_verifier, parse_verifier, prepare

SCHEMES: Final = ("argon2id", "scram-sha-256")
MIN_LENGTH: Final = 8
"""Characters of a new password."""
_ITERATIONS: Final = 100_000
_SALT_OCTETS: Final = 16
_MAX_MEMORY_KIB: Final = 256 * 1024
_ARGON2: Final = re.compile(r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=([0-9]{1,2})\$[^$]+\$[^$]+")
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def make_hash(password: str, scheme: str = "argon2id") -> str:
    """Give the stored form of a new password. Raises `ValueError` if it is too short or holds what none may."""
    prepared = prepare(password)
    if len(prepared) < MIN_LENGTH:
        raise ValueError(f"a password has at least {MIN_LENGTH} characters")
    if scheme == "argon2id":
        return _HASHER.hash(prepared)
    return str(make_verifier(prepared, secrets.token_bytes(_SALT_OCTETS), _ITERATIONS))


def check_stored(stored: str) -> str:
    """Give back a stored form if it can be used. Raises `ValueError`."""
    if stored.startswith("SCRAM-SHA-256$"):
        parse_verifier(stored)
        return stored
    found = _ARGON2.fullmatch(stored)
    if found is None:
        raise ValueError("not an Argon2id hash or SCRAM-SHA-256 verifier; `gatepost password` makes one")
    if int(found[1]) > _MAX_MEMORY_KIB:
        raise ValueError(f"this Argon2id hash asks for more than {_MAX_MEMORY_KIB // 1024} MiB of memory")
    try:
        argon2.extract_parameters(stored)
    except argon2.exceptions.InvalidHashError:
        raise ValueError("not an Argon2id hash") from None
    return stored


def matches(stored: str, password: str) -> bool:
    """Say whether a password, prepared as RFC 4013 has it, is the one that was stored. Blocks."""
    if stored.startswith("SCRAM-SHA-256$"):
        verifier = parse_verifier(stored)
        claimed = make_verifier(password, verifier.salt, verifier.iterations)
        return hmac.compare_digest(claimed.stored_key, verifier.stored_key)
    try:
        return _HASHER.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
