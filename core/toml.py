"""Reading TOML that somebody else wrote: what the standard library lets through or dies of is a fault like any other.

Numbers of thousands of digits, values within values by the hundred and keys of thousands of parts end with
`TOMLDecodeError`, before they take the time or the stack of whoever reads. Used wherever a document, or a part of one,
comes from a file or an operator.
"""

import re
import tomllib
from typing import Any

DEEPEST = 32
"""Tables and lists within each other; documents have five."""
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_ENDLESS_KEY = re.compile(rf"(?<![\w.-])(?:{_PART}){{128}}")


def loads(text: str) -> dict[str, Any]:
    """Read a document. Raises `tomllib.TOMLDecodeError` for all that is none, and for what nobody writes by hand."""
    if _ENDLESS_KEY.search(text) is not None:
        raise tomllib.TOMLDecodeError("a name of more than 128 parts")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise tomllib.TOMLDecodeError(str(error).partition(";")[0]) from None
    except RecursionError:
        tables = None
    if tables is None or _deep(tables):
        raise tomllib.TOMLDecodeError(f"tables and lists are nested more than {DEEPEST} deep")
    return tables


def _deep(tables: dict[str, Any]) -> bool:
    level: list[Any] = [tables]
    for _ in range(DEEPEST + 1):
        level = [item for value in level for item in (value.values() if isinstance(value, dict) else value)]
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return False
    return True
