"""Seed strings: the code that an appliance makes, and the rules for a string that an administrator chooses.

A code is twenty characters of Crockford's base 32, `1AAA-BBBB-CCCC-DDDD-EEEE`: version 5 bits, number of the support
key 5, day of expiry 12, random 68, checksum 10. The checksum is two symbols of a Reed-Solomon code over GF(32): it
finds every one or two wrong symbols and every two that changed places, so a seed that was misheard is known as such
before anything is tried with it. Called by the appliance (`techsupport`) and by keyd. Raises `GatepostError`: 65.
"""

import re
import secrets
import unicodedata
from dataclasses import dataclass

from core.errors import EX_DATAERR, GatepostError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no I, L, O (read as 1, 1, 0) and no U."""
VERSION = 1
LENGTH = 20
KEY_IDS = range(1, 32)
SHORTEST, LONGEST = 12, 128
"""Characters of a seed that somebody chose."""
DAY_ONE_AT = 1_577_836_800
"""2020-01-01, from which days are counted."""
DAYS = 4096
"""Days are counted round: twelve bits last eleven years, and only days near today are ever compared."""
DAY_S = 86_400

_ALIASES = str.maketrans({"I": "1", "L": "1", "O": "0"})
_DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212), "-")
_GROUPS = re.compile(
    r"[0-9A-Z]{3,5}(-[0-9A-Z]{3,5}){4}|[0-9A-Z]{4}([- ][0-9A-Z]{4}){4}|[0-9A-Z]{20}|[1IL][0-9A-Z]{18,20}"
)
"""What can only be meant as a code, even when a character is missing or too much."""
_TRIVIAL = re.compile(
    "password|passwort|passwd|passphrase|gatepost|techsupport|support|tunnel|service|secret|administrator|admin|"
    "letmein|welcome|qwertyuiop|qwertzuiop|qwerty|qwertz|asdfghjkl|changeme|change|seedstring|seed|string|test|"
    "default|remote|access|customer|appliance|bastion|please"
)
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed as it goes into the derivation."""

    text: str
    """A code without its dashes and in capitals; a chosen string with its blanks collapsed."""
    key_id: int | None
    """Which support key it was made for; None if somebody chose the string."""
    day: int | None
    """Day of expiry, counted from 2020-01-01 modulo 4096; None if somebody chose the string."""

    def __str__(self) -> str:
        return "-".join(self.text[at : at + 4] for at in range(0, LENGTH, 4)) if self.key_id else self.text

    def __repr__(self) -> str:
        return f"Seed(…, key_id={self.key_id}, day={self.day})"


def day_of(at: float) -> int:
    """Give the day that a time falls on, as a code carries it. 0 (never) stays 0."""
    return int(at - DAY_ONE_AT) // DAY_S % DAYS if at > 0 else 0


def end_of(day: int, now: float) -> float:
    """Give the time at which a code's day is over, taking the day as the one nearest to now."""
    ahead = (day - day_of(now) + DAYS // 2) % DAYS - DAYS // 2
    return float((int(now) // DAY_S + ahead + 1) * DAY_S)


def new_code(key_id: int, until_at: float) -> str:
    """Make a code for one activation: with 68 random bits, for the support key that the appliance uses."""
    if key_id not in KEY_IDS:
        raise ValueError(f"a support key has a number from 1 to 31, not {key_id}")
    return encode(key_id, day_of(until_at), secrets.randbits(68))


def encode(key_id: int, day: int, random: int) -> str:
    """Put a code together, in groups of four."""
    number = (VERSION << 85) | (key_id << 80) | (day << 68) | random
    symbols = [number >> shift & 31 for shift in range(85, -1, -5)]
    text = "".join(ALPHABET[symbol] for symbol in symbols + _checksum(symbols))
    return "-".join(text[at : at + 4] for at in range(0, LENGTH, 4))


def read(text: str) -> Seed:
    """Read a seed as a person gave it, code or chosen string. Raises status 65 for one that is mistyped."""
    normal = " ".join(unicodedata.normalize("NFKC", text).translate(_DASHES).split())
    bare = re.sub("[- ]", "", normal.upper()).translate(_ALIASES)
    if _GROUPS.fullmatch(normal.upper()) or _is_whole(bare):
        return _decoded(bare)
    if any(unicodedata.category(letter)[0] == "C" for letter in normal):
        raise GatepostError("the seed string holds a character that cannot be printed; type it again", EX_DATAERR)
    if not SHORTEST <= len(normal) <= LONGEST:
        text = f"a seed string has {SHORTEST} to {LONGEST} characters, a seed code {LENGTH}; this one has {len(normal)}"
        raise GatepostError(text, EX_DATAERR)
    return Seed(normal, None, None)


def chosen(text: str, serial: str) -> Seed:
    """Take a string that the administrator of an appliance chose. Raises status 65 for one that is easily guessed."""
    seed = read(text)
    if seed.key_id is not None:
        text = "this is a seed code, which an appliance makes and nobody chooses; choose words, or let a code be made"
        raise GatepostError(text, EX_DATAERR)
    plain = seed.text.casefold()
    bare = re.sub(r"[\W_]", "", plain)
    if _guessable(bare):
        raise GatepostError(
            "this seed string is easily guessed; take some words that do not belong together", EX_DATAERR
        )
    number = re.sub(r"[\W_]", "", serial.casefold())
    if number in bare or bare in number:
        raise GatepostError("the seed string must not be the serial number, which is no secret", EX_DATAERR)
    return seed


def _guessable(bare: str) -> bool:
    """Tell whether a string is a run of the keyboard, something repeated, or nothing but words that everybody tries."""
    if len(set(bare)) < 5 or bare in (bare + bare)[1:-1]:
        return True
    if any(bare in line * 2 or bare in line[::-1] * 2 for line in _RUNS):
        return True
    return len(_TRIVIAL.sub("", re.sub(r"\d", "", bare))) < 4


def _is_whole(text: str) -> bool:
    """Tell whether a text without separators is a code whose checksum holds, however it was grouped."""
    symbols = [ALPHABET.find(letter) for letter in text]
    return len(symbols) == LENGTH and min(symbols) >= 0 and symbols[0] == VERSION and _checks(symbols)


def _checks(symbols: list[int]) -> bool:
    return _checksum(symbols[:-2]) == symbols[-2:]


def _decoded(text: str) -> Seed:
    if len(text) != LENGTH:
        raise GatepostError(
            f"mistyped seed code: it has {len(text)} characters and needs {LENGTH}; read it again", EX_DATAERR
        )
    symbols = [ALPHABET.find(letter) for letter in text]
    if min(symbols) < 0 or not _checks(symbols):
        raise GatepostError("mistyped seed code: its checksum is wrong; compare it again, letter by letter", EX_DATAERR)
    version, key_id = symbols[:2]
    if version != VERSION:
        raise GatepostError(
            f"this seed code is of version {version}, known is {VERSION}; upgrade this side", EX_DATAERR
        )
    if key_id not in KEY_IDS:
        raise GatepostError("this seed code names no support key; make a new one on the appliance", EX_DATAERR)
    return Seed(text, key_id, symbols[2] << 7 | symbols[3] << 2 | symbols[4] >> 3)


def _tables() -> tuple[list[int], list[int]]:
    """Powers and logarithms of GF(32) with x^5 + x^2 + 1."""
    powers, logarithms, value = [], [0] * 32, 1
    for exponent in range(31):
        powers.append(value)
        logarithms[value] = exponent
        value = value << 1 ^ (0b100101 if value & 16 else 0)
    return powers * 2, logarithms


_POWER, _LOG = _tables()


def _times(one: int, other: int) -> int:
    return _POWER[_LOG[one] + _LOG[other]] if one and other else 0


def _checksum(symbols: list[int]) -> list[int]:
    """Give the two symbols that make the whole a multiple of (x - a)(x - a^2), where a is x itself: distance 3."""
    high, low = 0, 0
    for symbol in symbols:
        feedback = symbol ^ high
        high, low = low ^ _times(feedback, 6), _times(feedback, 8)
    return [high, low]
