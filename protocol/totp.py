"""Time-based one-time passwords (RFC 6238), the HOTP below them (RFC 4226), and what an authenticator app is shown.

SHA-1, six digits, thirty seconds: what every app does. Used by `ops/access/`. Knows no user and no clock; that a code
counts only once is kept by whoever calls `step_of`. Raises `ValueError` for a secret that is not base32.
"""

import base64
import binascii
import hmac
from typing import Final
from urllib.parse import quote, urlencode

DIGITS: Final = 6
STEP_S: Final = 30
WINDOW: Final = 1
"""Steps before and after the present one whose codes are taken as well (RFC 6238 5.2): clocks differ."""
SECRET_OCTETS: Final = 20
"""RFC 4226 4 R6: as long as the hash."""
_LEAST_OCTETS: Final = 16


def secret_text(octets: bytes) -> str:
    """Give the base32 form of a secret, without padding, as apps take it."""
    return base64.b32encode(octets).decode("ascii").rstrip("=")


def secret_octets(text: str) -> bytes:
    """Read the base32 form; blanks, hyphens and small letters do not matter."""
    plain = "".join(text.split()).replace("-", "").upper().rstrip("=")
    try:
        octets = base64.b32decode(plain + "=" * (-len(plain) % 8))
    except binascii.Error:
        raise ValueError("a one-time secret is base32: letters A to Z and digits 2 to 7") from None
    if len(octets) < _LEAST_OCTETS:
        raise ValueError(f"a one-time secret has at least {_LEAST_OCTETS} octets")
    return octets


def code(secret: bytes, counter: int) -> str:
    """Give the code of one counter (RFC 4226 5.3)."""
    digest = hmac.digest(secret, counter.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def step_of(secret: bytes, typed: str, at: float) -> int | None:
    """Give the time step whose code was typed, None if it is none of those around the UNIX time `at`."""
    digits = "".join(typed.split())
    now = int(at // STEP_S)
    found = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        # All are looked at, so that time does not tell which.
        if hmac.compare_digest(code(secret, max(step, 0)).encode(), digits.encode("utf-8", "replace")):
            found = step
    return found


def uri(secret: str, account: str, issuer: str) -> str:
    """Give the `otpauth:` address that apps read from a QR code (Key Uri Format of the authenticator apps)."""
    label = quote(f"{issuer}:{account}", safe="@")
    query = {"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"
