"""Secrets in a configuration: hidden where it is shown, and found where a hidden one comes back."""

from collections.abc import Iterator, Mapping
from typing import Any

from core.config import is_secret

MASK = "*****"


def mask(value: Any, key: str = "") -> Any:
    """Give a copy of a configuration in which no secret can be read."""
    if isinstance(value, Mapping):
        return {name: mask(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, key) for item in value]
    if isinstance(value, str) and value and ("PRIVATE KEY" in value or is_secret(key)):
        return MASK
    return value


def masked_keys(value: Any, key: str = "") -> Iterator[str]:
    """Name the keys whose value is a mask."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from masked_keys(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value, 1):
            yield from masked_keys(item, f"{key}[{place}]")
    elif value == MASK:
        yield key
