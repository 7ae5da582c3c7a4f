"""Reading a configuration document: one TOML file per machine, whole.

Every problem is reported at once, each with file, key and reason (`ConfigError`, exit status 78), before any socket
opens. Called by the roots, and by whoever checks tables before they become a document.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from core import toml
from core.config import is_secret
from core.disk import read_text
from core.errors import ConfigError, Problem
from core.fault import worded

_D = TypeVar("_D", bound=BaseModel)


def _key(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def problems_of(error: ValidationError, file: str) -> list[Problem]:
    """Translate what pydantic found into problems that an operator can act on."""
    found = []
    for item in error.errors():
        # A password that stands there in the clear would be in the mail log from then on.
        secret = any(isinstance(part, str) and is_secret(part) for part in item["loc"])
        found.append(Problem(file, _key(item["loc"]), worded(item, secret=secret)))
    return found


_ABSENT = (
    "there is no configuration; `gatepost init --role esa|sma|bastion --dir /var/lib/gatepost` makes a machine, "
    "`gatepost systemd install` its units; another file is named by --config or $GATEPOST_CONFIG"
)

UNFINISHED = ".restoring"
"""In the machine's folder: where `gatepost restore` writes until all of it is there."""
_RESTORE_AGAIN = (
    "a restore was broken off here, and what it has left is no machine; `gatepost restore --from FILE --dir DIR` with "
    "this folder clears it away and begins again"
)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises `ConfigError` naming line and column if it is not one."""
    try:
        return toml.loads(read_text(path))
    except FileNotFoundError as error:
        unfinished = os.path.lexists(path.resolve().parent / UNFINISHED)
        raise ConfigError([Problem(str(path), "", _RESTORE_AGAIN if unfinished else _ABSENT)]) from error
    except PermissionError as error:
        reason = "cannot be read by this user; run this as the machine's owner or as root"
        raise ConfigError([Problem(str(path), "", reason)]) from error
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError([Problem(str(path), "", f"not valid TOML: {error}")]) from error


def load_document(path: Path, model: type[_D], further: Sequence[Problem] = ()) -> _D:
    """Read and check a whole document. Raises `ConfigError` with every problem."""
    return check_document(read_toml(path), model, str(path), further)


def check_document(tables: Mapping[str, Any], model: type[_D], file: str, further: Sequence[Problem] = ()) -> _D:
    """Check a whole document that was read already; `file` is what problems name. Raises `ConfigError` with all."""
    try:
        document = model.model_validate(tables)
    except ValidationError as error:
        raise ConfigError([*problems_of(error, file), *further]) from error
    if further:
        raise ConfigError(further)
    return document
