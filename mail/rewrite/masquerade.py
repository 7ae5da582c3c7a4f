"""Masquerading: addresses of senders as the outside is to see them, by listener.

The receiving session asks for the envelope sender, the pipeline for the addresses in the chosen header fields
(behaviour 6.2). Left sides: `user`, `user@domain`, `@domain`, `@.partial` (everything below it), `ALL`; right sides: an
address, or `@domain`, which keeps the user name. The first row that matches decides, found by hash. A result is not
looked up again. Raises `ValueError` for a row.
"""

from collections.abc import Iterable, Sequence

from mail.rewrite.header import addresses_of
from mail.rewrite.pattern import ALL, address_key, check_address, check_domain_side, check_user, key_of, partials

SENDER = "Envelope Sender"
HEADERS = ("From", "To", "CC", "Reply-To")
"""Where a table may be applied: to the sender of the envelope, and to these fields."""


def check_match(text: str) -> str:
    """Read the left side of a row; give its key. Raises `ValueError`."""
    text = text.strip()
    if text.lower() == ALL:
        return ALL
    local, at, domain = text.rpartition("@")
    if not at:
        return check_user(text)
    return address_key(text) if local else f"@{check_domain_side(domain)}"


def check_result(text: str) -> str:
    """Read the right side of a row. Raises `ValueError`."""
    text = text.strip()
    if text.startswith("@"):
        domain = check_domain_side(text[1:])
        if domain.startswith("."):
            raise ValueError(f"'{text}': the right side is an address or @domain")
        return f"@{domain}"
    return check_address(text)


class Masquerade:
    """The table of one listener, and where it applies."""

    def __init__(self, rows: Iterable[tuple[str, str]] = (), places: Sequence[str] = HEADERS) -> None:
        """`rows` are pairs of what matches and what it becomes, in order. Raises `ValueError`."""
        self._rows: dict[str, tuple[int, str]] = {}
        for rank, (match, to) in enumerate(rows):
            self._rows.setdefault(check_match(match), (rank, check_result(to)))
        self.sender = SENDER in places and bool(self._rows)
        """Whether the envelope sender is rewritten."""
        self.headers = tuple((name, name.lower().encode()) for name in places if name != SENDER) if self._rows else ()
        """Fields that are rewritten: as shown, and in lower case."""

    def __bool__(self) -> bool:
        return bool(self.sender or self.headers)

    def lookup(self, address: str) -> str:
        """Give what an address becomes, '' if it stays as it is; the null sender stays."""
        local, domain = key_of(address)
        if not local or not domain:
            return ""
        best: tuple[int, str] | None = None
        for key in (f"{local}@{domain}", local, f"@{domain}", *(f"@{one}" for one in partials(domain)), ALL):
            found = self._rows.get(key)
            if found is not None and (best is None or found[0] < best[0]):
                best = found
        if best is None:
            return ""
        new = f"{address.rpartition('@')[0]}{best[1]}" if best[1].startswith("@") else best[1]
        return "" if new == address else new

    def changes(self, values: Iterable[bytes]) -> dict[str, str]:
        """Give what becomes of the addresses in values of a header field: those that change, as they are written."""
        found: dict[str, str] = {}
        for raw in values:
            for address in addresses_of(raw):
                if address not in found and (new := self.lookup(address)):
                    found[address] = new
        return found
