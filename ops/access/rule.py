"""Which passwords the console takes: long enough, not the name, not one of those that everybody tries first.

Asked by `userconfig`, `passwd` and `gatepost init`. Raises `GatepostError` 65 with what to do; keeps and logs nothing.
"""

from typing import Final

from core.errors import EX_DATAERR, GatepostError
from core.guess import strength
from core.password import make_hash

LONGEST: Final = 128
_GUESSABLE: Final = 2
"""Below this a password falls to a few thousand guesses, or to a million."""


def check_password(password: str, user: str, *, least: int, hostname: str = "") -> None:
    """Raise status 65 if a password is too short, too long, or easily guessed of this user on this machine."""
    if len(password) < least:
        raise _refused(f"a password has at least {least} characters")
    if len(password) > LONGEST:
        raise _refused(f"a password has at most {LONGEST} characters")
    folded = password.casefold()
    name = user.casefold()
    if name and (folded == name[::-1] or (name in folded and len(folded) < len(name) + least // 2)):
        raise _refused("a password must not be made of the user's name")
    score, why = strength(password, [user, hostname, *hostname.split("."), "gatepost"])
    if score < _GUESSABLE:
        hint = f" ({why[0].lower()}{why[1:]})" if why else ""
        raise _refused(f"that password is too easily guessed{hint}; a few unrelated words are better")


def stored_password(password: str, user: str, *, least: int, hostname: str = "") -> str:
    """Check a new password and give its stored form. Blocks for tens of milliseconds."""
    check_password(password, user, least=least, hostname=hostname)
    try:
        return make_hash(password)
    except ValueError as error:
        raise _refused(str(error)) from None


def _refused(text: str) -> GatepostError:
    return GatepostError(text, EX_DATAERR)
