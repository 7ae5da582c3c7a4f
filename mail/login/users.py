"""The users of the SMTP listeners and their stored passwords.

Built from configuration by the gateway root. A name that is no user is treated like one whose password never fits,
in the same time, and gets the same made-up verifier each time: who asks cannot tell. `check` blocks.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from core.password import make_hash, matches
from mail.login.config import SmtpUserSection
from protocol.smtp.sasl import Verifier, parse_verifier


class Users:
    """Names and what is kept of their passwords."""

    def __init__(self, rows: Iterable[SmtpUserSection]) -> None:
        self._stored = {row.name: row.password for row in rows}
        self._verifiers = {
            name: parse_verifier(stored) for name, stored in self._stored.items() if stored.startswith("SCRAM-")
        }
        self._secret = secrets.token_bytes(32)
        self._nobody = next(iter(self._stored.values())) if self._stored else ""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._stored)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What can be offered: SCRAM where a user has a verifier; nothing where there is no user."""
        if not self._stored:
            return ()
        return (*(("SCRAM-SHA-256",) if self._verifiers else ()), "PLAIN", "LOGIN")

    def check(self, name: str, password: str) -> bool:
        """Say whether this is the user's password; takes as long for a name that is no user. Blocks."""
        stored = self._stored.get(name)
        fits = matches(stored or self._nobody or make_hash(secrets.token_hex()), password)
        return fits and stored is not None

    def verifier(self, name: str) -> Verifier:
        """Give the user's verifier, or one that nothing fits."""
        found = self._verifiers.get(name)
        if found is not None:
            return found
        octets = [hmac.digest(self._secret, bytes([kind]) + name.encode(), hashlib.sha256) for kind in range(3)]
        model = next(iter(self._verifiers.values()), None)
        salt = octets[0][: len(model.salt)] if model is not None else octets[0][:16]
        return Verifier(model.iterations if model is not None else 4096, salt, octets[1], octets[2])
