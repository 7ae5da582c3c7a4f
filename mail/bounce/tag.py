"""Bounce verification: a tag in the envelope sender of outgoing mail, by which real bounces are known (behaviour 6.10).

`joe@x.test` leaves as `prvs=joe=KDDDTTTTTT@x.test`: the id of a key, the day on which the tag ends (days since 1970,
the last three digits), six characters of an HMAC over key id, day and address. Domain and local part are signed
without regard to case, and the tag is read without regard to case, because hosts on the way change it. Tagging never
happens twice. Pure but for the clock that is handed in.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

SHORTEST_SECRET: Final = 16
VALID_DAYS: Final = 7
"""How long a bounce may take; also how long a retired key counts."""
LOCAL_LIMIT: Final = 64
_DAY_S: Final = 86_400
_PREFIX: Final = "prvs="
_TAGGED: Final = re.compile(r"prvs=(.+)=([0-9])([0-9]{3})([a-z2-7]{6})", re.ASCII | re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """A key by its one-digit id."""

    id: str
    secret: bytes
    retired_at: float = 0.0
    """When a newer key took over, 0 = in use."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """An address that looks tagged, taken apart."""

    address: str
    """Without the tag."""
    key: str
    day: str
    proof: str


def read_tag(address: str) -> Tagged | None:
    """Take an address apart; None if it carries nothing that looks like a tag."""
    local, at, domain = address.rpartition("@")
    quoted = len(local) > 1 and local.startswith('"') and local.endswith('"')
    found = _TAGGED.fullmatch(local[1:-1] if quoted else local)
    if found is None or not at:
        return None
    plain = f'"{found[1]}"' if quoted else found[1]
    return Tagged(f"{plain}@{domain}", found[2], found[3], found[4].lower())


class Tags:
    """The keys of a machine."""

    def __init__(self, keys: Sequence[Key], now: Callable[[], float]) -> None:
        """The first key that is not retired makes tags."""
        self._keys = {key.id: key for key in keys}
        self._making = next((key for key in keys if not key.retired_at), None)
        self._now = now

    @property
    def tagging(self) -> bool:
        """Whether there is a key to make tags with."""
        return self._making is not None

    def add(self, sender: str) -> str:
        """Tag an envelope sender; the null sender, one that is tagged and one too long for it stay as they are."""
        key = self._making
        local, at, domain = sender.rpartition("@")
        if key is None or not at or self._looks_tagged(local):
            return sender
        day = self._day_of(self._now() + VALID_DAYS * _DAY_S)
        end = f"={key.id}{day}{_proof(key, day, sender)}"
        quoted = local.startswith('"')
        tagged = f'"{_PREFIX}{local[1:-1]}{end}"' if quoted else f"{_PREFIX}{local}{end}"
        return f"{tagged}@{domain}" if len(tagged.encode()) <= LOCAL_LIMIT else sender

    @staticmethod
    def _looks_tagged(local: str) -> bool:
        return local.lstrip('"').lower().startswith(_PREFIX)

    def valid(self, tagged: Tagged, *, bounce: bool) -> bool:
        """Tell whether a tag is genuine; for a bounce also whether it counts still.

        Mail that is no bounce may answer an old address: every key is tried and no date looked at.
        """
        key = self._keys.get(tagged.key)
        if key is None or not hmac.compare_digest(_proof(key, tagged.day, tagged.address), tagged.proof):
            return False
        return not bounce or (self._counts(key) and self._lives(tagged.day))

    def _counts(self, key: Key) -> bool:
        return not key.retired_at or self._now() < key.retired_at + VALID_DAYS * _DAY_S

    def _lives(self, day: str) -> bool:
        """Tell whether a day is one of the next seven, or today."""
        return (int(day) - int(self._now() // _DAY_S)) % 1000 <= VALID_DAYS

    @staticmethod
    def _day_of(at: float) -> str:
        return f"{int(at // _DAY_S) % 1000:03d}"


def _proof(key: Key, day: str, address: str) -> str:
    text = f"{key.id}{day}{address.lower()}".encode()
    return base64.b32encode(hmac.digest(key.secret, text, hashlib.sha256))[:6].decode("ascii").lower()
