"""Finding the derivation that a seed belongs to: which support key, which day, which mode.

A code carries key and day; of a string that somebody chose nothing is known but what the appliance has published, so
what is left open is tried. It takes a tenth of a second and 32 MiB; `deriving` runs it in a thread.
"""

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.agreement import agree, public_of
from core.errors import EX_DATAERR, GatepostError
from tunnel.keyd.api import Published
from tunnel.seed.code import DAY_S, DAYS, Seed, day_of, end_of
from tunnel.seed.derive import MODES, SSHACCESS, Binding, Derived, derived, expanded, fingerprint_of, stretch

DAYS_TRIED = 9
"""Today and the eight after it: an activation lives for at most seven days."""


@dataclass(frozen=True, slots=True)
class Try:
    """One derivation that may be the right one."""

    key_id: int
    day: int
    mode: str


@dataclass(frozen=True, slots=True)
class Found:
    """The one that is."""

    tried: Try
    keys: Derived


def candidates(seed: Seed, published: Published | None, key_ids: Sequence[int], now: float) -> list[Try]:
    """List what may be right, the likeliest first. Raises status 65 for what cannot be found out."""
    if published is None and seed.key_id is None and len(key_ids) > 1:
        text = "a string that was chosen does not say which support key it is for; ask for the fingerprint in STATUS"
        raise GatepostError(text, EX_DATAERR)
    known = published or Published(fingerprint="0" * 16, mode=SSHACCESS.lower())
    keys = [seed.key_id or known.key_id] if seed.key_id or known.key_id else list(key_ids)
    modes = [known.mode.upper()] if known.mode else list(MODES)
    if not set(modes) <= set(MODES):
        raise GatepostError(f"{known.mode!r} is no mode of access; there are tunnel and sshaccess", EX_DATAERR)
    return [Try(key, day, mode) for mode in modes for day in _days(seed, known, mode, now) for key in keys]


def _days(seed: Seed, known: Published, mode: str, now: float) -> list[int]:
    if seed.day is not None:
        return [seed.day]
    if known.day >= 0:
        return [known.day]
    if mode == SSHACCESS:
        return [0]
    today = day_of(now)
    return [(today + ahead) % DAYS for ahead in range(DAYS_TRIED)]


def refuse_expired(tries: Sequence[Try], now: float) -> None:
    """Raise status 65 if every day that may be meant is over; an account has no day, it stays open."""
    if any(each.mode == SSHACCESS or end_of(each.day, now) > now for each in tries):
        return
    day = datetime.fromtimestamp(max(end_of(each.day, now) for each in tries) - DAY_S, UTC).date()
    raise GatepostError(f"this seed was good until {day}; ask the customer to enable access anew", EX_DATAERR)


def until_at(found: Found, now: float, life_s: float) -> float:
    """Tell when what was derived is worth nothing any more: the day's end, for an account `life_s` from now.

    A day further ahead than any activation lives is not believed.
    """
    if found.tried.mode == SSHACCESS:
        return now + life_s
    return min(end_of(found.tried.day, now), now + DAYS_TRIED * DAY_S)


def find(
    seed: Seed,
    tries: Sequence[Try],
    published: Published | None,
    *,
    serial: str,
    appliance_key: bytes,
    support_key: Callable[[int], bytes],
) -> Found | None:
    """Derive until the fingerprint is the published one; None if none is. Without one the first is taken.

    Raises status 65 for a support key that is not there and for an appliance key that agrees on nothing.
    """
    shared = {key_id: _agreed(support_key(key_id), appliance_key) for key_id in dict.fromkeys(t.key_id for t in tries)}
    stretched = stretch(seed, serial)

    def outcomes() -> Iterator[tuple[Try, bytes]]:
        for each in tries:
            secret, public = shared[each.key_id]
            bound = Binding(serial, appliance_key, public, key_id=each.key_id, day=each.day, mode=each.mode)
            yield each, expanded(secret, stretched, bound)

    for each, okm in outcomes():
        if published is None or hmac.compare_digest(fingerprint_of(okm), published.fingerprint):
            return Found(each, derived(okm))
    return None


def _agreed(private: bytes, appliance_key: bytes) -> tuple[bytes, bytes]:
    return agree(private, appliance_key), public_of(private)
