"""How easily a password is guessed; the one module that knows zxcvbn.

Looks at common passwords, names, words, dates, keyboard walks, and words that the caller adds. Used by
`ops/access/rule.py`, which decides what is good enough. Takes milliseconds; imported late, since it reads word lists.
"""

from collections.abc import Iterable
from typing import Final

LONGEST: Final = 72
"""Characters that are looked at: the time it takes grows faster than the length."""


def strength(password: str, words: Iterable[str] = ()) -> tuple[int, str]:
    """Give 0 (among the first that are tried) to 4 (safe even if the hash is stolen), and what is wrong, or ''."""
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:LONGEST], user_inputs=[word for word in words if word])
    return int(found["score"]), str(found["feedback"]["warning"]).rstrip(".")
