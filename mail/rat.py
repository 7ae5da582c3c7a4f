"""The recipient access table of a public listener: which recipients it takes mail for.

`receive` asks it for every RCPT of a sender that may not relay; `config` uses `parse_recipient` for checking.
Forms: `user@domain`, `user@`, `domain`, `.partial`, `user@[ip]`, `[ip]`, `ALL`; the first entry that qualifies
wins, everybody else is refused (behaviour 2.15). It knows no session and no DNS.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.address import to_ascii


@dataclass(frozen=True, slots=True)
class RatEntry:
    """One row: a pattern and what to do with a recipient that falls under it."""

    pattern: str
    accept: bool = True
    code: int = 550
    text: str = "#5.1.0 Address rejected."
    bypass_limits: bool = False
    """Not counted to recipients per hour."""


_REFUSE = RatEntry("ALL", accept=False)


class RecipientAccessTable:
    """All rows in order. Exact forms are found by hash; the order of rows still decides."""

    def __init__(self, entries: Sequence[RatEntry]) -> None:
        self._rows: dict[str, tuple[int, RatEntry]] = {}
        for rank, entry in enumerate(entries):
            self._rows.setdefault(parse_recipient(entry.pattern), (rank, entry))

    def lookup(self, local: str, domain: str) -> RatEntry:
        """Decide for one recipient; case does not matter."""
        local, domain = local.lower(), domain.lower()
        best: tuple[int, RatEntry] | None = None
        for key in _keys(local, domain):
            found = self._rows.get(key)
            if found is not None and (best is None or found[0] < best[0]):
                best = found
        return _REFUSE if best is None else best[1]

    def serves(self, domain: str) -> bool:
        """Tell whether a domain is ours: a row for the domain as a whole accepts it."""
        rows = (self._rows.get(key) for key in _keys("", domain.lower())[1:] if key != "@")
        return any(found is not None and found[1].accept for found in rows)


def _keys(local: str, domain: str) -> list[str]:
    keys = [f"{local}@{domain}", domain, f"{local}@", "all"]
    if not domain.startswith("["):
        at = domain.find(".")
        while at >= 0:
            keys.append(domain[at:])
            at = domain.find(".", at + 1)
    return keys


def parse_recipient(text: str) -> str:
    """Give the key under which a row is found. Raises `ValueError` with the reason."""
    key = text.lower()
    if key == "all":
        return key
    local, at, domain = key.rpartition("@")
    if at and not local:
        raise ValueError(f"'{text}': nothing stands before '@'; write the bare domain for all its recipients")
    if at and not domain:
        return key
    _check_domain(domain, text)
    if at and domain.startswith("."):
        raise ValueError(f"'{text}': a partial domain cannot carry a user name")
    return f"{local}{at}{_known_as(domain, text)}"


def _known_as(domain: str, text: str) -> str:
    """Give a domain as the protocol does: by its A-labels."""
    if domain.isascii():
        return domain
    dot = "." if domain.startswith(".") else ""
    try:
        return dot + to_ascii(domain.removeprefix("."))
    except ValueError as error:
        raise ValueError(f"'{text}': {error}") from None


def _check_domain(domain: str, text: str) -> None:
    if domain.startswith("["):
        if not domain.endswith("]"):
            raise ValueError(f"'{text}': the address literal is not closed by ']'")
        try:
            ipaddress.ip_address(domain[1:-1].removeprefix("ipv6:"))
        except ValueError:
            raise ValueError(f"'{text}': the brackets do not hold an IP address") from None
        return
    labels = domain.removeprefix(".").split(".")
    if not all(label and not set(label) & set(' \t"<>()[],;:\\/@') for label in labels):
        raise ValueError(f"'{text}' is not a recipient address or a domain")
