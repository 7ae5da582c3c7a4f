"""Objects that an operator's configuration names as `module:attribute`, such as an aiosmtpd handler.

Modules are searched in a folder of the machine first, then where Python finds its own. Raises `ConfigError` naming
the key and what is wrong.
"""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from core.errors import ConfigError, Problem


def load(text: str, folder: Path, *, file: str, key: str) -> Any:
    """Give the named object; a class is called without arguments."""
    module, colon, attribute = text.partition(":")
    if not (module and colon and attribute):
        raise ConfigError([Problem(file, key, f'write "module:attribute" (found {text!r})')])
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if inspect.isclass(found) else found
    except (Exception, SystemExit) as error:  # whatever the operator's module does when it is loaded
        reason = f"{text} cannot be loaded: {type(error).__name__}: {error}; modules are searched in {folder}"
        raise ConfigError([Problem(file, key, reason)]) from error
