"""The global unsubscribe list: recipients that get no mail from this machine, whatever queued it.

The settlement asks `match` right before each attempt, so the list counts for mail that was queued before. Entries:
`user@domain`, `user@`, `@domain`, `@.partial` (everything below a domain) and an IP address, which stands for
recipients at that address literal and for every recipient whose mail goes to a host of that address. Found by hash,
so the length of the list does not matter. Case does not matter. `read` raises `ConfigError` with every bad line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from core.errors import ConfigError, Problem
from protocol.address import unquoted
from protocol.domain import canonical, check_domain, literal_address

Action = Literal["drop", "bounce"]


_REASON = "'{}' is not user@domain, user@, @domain, @.partial or an IP address"


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(_REASON.format(text)) from None


def parse_entry(text: str) -> str:
    """Give an entry in the form that it is looked up by. Raises `ValueError`."""
    local, at, domain = text.rpartition("@")
    if not at:
        return _address(text)
    if local == "" and domain.startswith("."):
        return f"@.{check_domain(domain[1:])}"
    if not domain:
        if not local or "@" in local:
            raise ValueError(_REASON.format(text))
        return f"{local.lower()}@"
    if literal_address(domain) is not None:
        return f"{local.lower()}@{domain.lower()}"
    return f"{local.lower()}@{check_domain(domain)}"


class Unsubscribed:
    """The list and what is done to those on it."""

    def __init__(self, entries: Iterable[str] = (), action: Action = "drop") -> None:
        """`entries` as `parse_entry` gives them."""
        self.action = action
        self._entries = frozenset(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, address: str, remote_ip: str = "") -> str:
        """Give the entry that a recipient falls under, '' for none; `remote_ip` is the host about to get the mail."""
        return next((key for key in _keys(address, remote_ip) if key in self._entries), "")


def _keys(address: str, remote_ip: str) -> Iterator[str]:
    quoted, _, domain = address.lower().rpartition("@")
    local, domain = unquoted(quoted), canonical(domain)
    yield f"{local}@{domain}"
    yield f"{local}@"
    yield f"@{domain}"
    at = domain.find(".")
    while at >= 0:
        yield f"@{domain[at:]}"
        at = domain.find(".", at + 1)
    yield literal_address(domain) or ""
    if remote_ip:
        yield remote_ip


def read(entries: Iterable[str], file: Path | None, action: Action, place: str) -> Unsubscribed:
    """Read the list of a document (named `place`) and of its file, one entry a line, `#` for comments.

    Raises `ConfigError` with every fault.
    """
    problems: list[Problem] = []
    good: list[str] = []
    for number, entry in enumerate(entries, 1):
        _take(entry, Problem(place, f"unsubscribe.entries[{number}]", ""), good, problems)
    if file is not None:
        for number, line in _lines(file, problems):
            _take(line, Problem(str(file), f"line {number}", ""), good, problems)
    if problems:
        raise ConfigError(problems)
    return Unsubscribed(good, action)


def _lines(file: Path, problems: list[Problem]) -> list[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        problems.append(Problem(str(file), "", f"cannot be read: {error.strerror}"))
        return []
    except UnicodeDecodeError:
        problems.append(Problem(str(file), "", "is not UTF-8 text"))
        return []
    lines = enumerate((line.partition("#")[0].strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in lines if line]


def _take(entry: str, place: Problem, good: list[str], problems: list[Problem]) -> None:
    try:
        good.append(parse_entry(entry))
    except ValueError as error:
        problems.append(replace(place, reason=str(error)))
