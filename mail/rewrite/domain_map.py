"""The domain map of a listener: recipients' domains that are other names of the domain that mail goes to.

The receiving session asks it for every RCPT, before the recipient access table, which sees the result (behaviour 6.1).
Rows: `user@old` to `user@new`; `old.example` to `new.example`; `.old.example` (everything below it) to `new.example`,
or to `.new.example`, which keeps what stands before. The closest row decides, wherever it stands: the address, the
domain, the longest partial domain. A result is not looked up again. Only the envelope changes. Raises
`ValueError` for a row.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mail.rewrite.pattern import address_key, check_address, check_domain_side, partials
from protocol.address import Path, unquoted
from protocol.domain import canonical


@dataclass(frozen=True, slots=True)
class Mapped:
    """One row, read."""

    match: str
    to: str


def check_row(match: str, to: str) -> tuple[str, str]:
    """Read a row; give its key and its result. Raises `ValueError`."""
    if "@" in match:
        return address_key(match), check_address(to) if "@" in to else f"@{_whole(to)}"
    key = check_domain_side(match)
    if "@" in to:
        raise ValueError(f"'{match}' to '{to}': only a whole address is mapped to an address; many to one is an alias")
    if to.strip().startswith("."):
        if not key.startswith("."):
            raise ValueError(f"'{match}' to '{to}': only a partial domain is mapped to a partial domain")
        return key, check_domain_side(to)
    return key, _whole(to)


def _whole(text: str) -> str:
    if text.strip().startswith("."):
        raise ValueError(f"'{text}': a whole domain is needed here")
    return check_domain_side(text)


class DomainMap:
    """All rows of one listener, found by hash."""

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """`rows` are pairs of what matches and what it becomes. Raises `ValueError`."""
        self._rows: dict[str, Mapped] = {}
        for match, to in rows:
            key, result = check_row(match, to)
            self._rows.setdefault(key, Mapped(match.strip(), result))

    def __bool__(self) -> bool:
        return bool(self._rows)

    def lookup(self, recipient: Path) -> tuple[Path, str]:
        """Give the recipient as it goes on, and the row that changed it, '' for none."""
        domain = canonical(recipient.domain)
        row = self._rows.get(f"{unquoted(recipient.local).lower()}@{domain}") or self._rows.get(domain)
        if row is not None:
            return _changed(recipient, row.to), row.match
        for partial in partials(domain):
            row = self._rows.get(partial)
            if row is not None:
                to = domain[: -len(partial)] + row.to if row.to.startswith(".") else row.to
                return _changed(recipient, to), row.match
        return recipient, ""


def _changed(recipient: Path, to: str) -> Path:
    local, at, domain = to.rpartition("@")
    local = local if at and local else recipient.local
    return Path(local, canonical(domain), f"{local}@{domain}")
