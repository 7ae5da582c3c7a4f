"""The alternate source table (altsrchost): which virtual gateway a message leaves by, from who sent it.

The pipeline asks it once for each message, with the original envelope sender and the address of the sending host;
`config` checks rows with `parse_match`. Four kinds of rows, in this order of preference: the sender's address or
block, the full envelope address, `user@`, `@domain`; within a kind the first row wins. Knows no log and no filter.
Raises `ValueError` for a row that cannot be read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mail.netblock import Netblock, parse_address, parse_netblock
from protocol.domain import canonical, check_domain


class Kind(IntEnum):
    """What a row looks at, the preferred kind first."""

    HOST = 0
    ADDRESS = 1
    USER = 2
    DOMAIN = 3


class Match(NamedTuple):
    """The left side of a row, read."""

    kind: Kind
    key: str
    """Of an address form: in lower case, the domain canonical."""
    block: Netblock | None = None


@dataclass(frozen=True, slots=True)
class AlternateSource:
    """A row: what matches, and the name of an interface or group."""

    match: str
    gateway: str


class Choice(NamedTuple):
    """What the table says about a message."""

    gateway: str
    """'' = the default one."""
    match: str = ""
    """The row's left side, '' if none matched."""


NO_CHOICE = Choice("")


def parse_match(text: str) -> Match:
    """Read the left side of a row. Raises `ValueError`."""
    local, at, domain = text.strip().rpartition("@")
    if not at:
        return Match(Kind.HOST, text, parse_netblock(text.strip()))
    if not domain:
        if not local or "@" in local:
            raise ValueError(f"'{text}' is not user@, @domain, user@domain or an IP address or block")
        return Match(Kind.USER, local.lower())
    name = check_domain(domain) if not domain.startswith("[") else domain.lower()
    return Match(Kind.ADDRESS, f"{local.lower()}@{name}") if local else Match(Kind.DOMAIN, name)


class AlternateSources:
    """All rows, found by hash where that is possible."""

    def __init__(self, rows: Iterable[AlternateSource] = (), names: Mapping[str, str] | None = None) -> None:
        """`names` gives for the lower case name of each interface and group what it is queued under; '' = default."""
        self._names = names or {}
        self._blocks: list[tuple[Netblock, Choice]] = []
        self._keyed: dict[tuple[Kind, str], Choice] = {}
        for row in rows:
            match = parse_match(row.match)
            choice = Choice(self.named(row.gateway), row.match)
            if match.block is not None:
                self._blocks.append((match.block, choice))
            else:
                self._keyed.setdefault((match.kind, match.key), choice)

    def __bool__(self) -> bool:
        return bool(self._blocks or self._keyed)

    def named(self, name: str) -> str:
        """Give what an interface or group is queued under: its name as configured, '' if it is the default.

        A name that is not known stays as it is: delivery says that it is gone.
        """
        return self._names.get(name.lower(), name)

    def choose(self, remote_ip: str, sender: str) -> Choice:
        """Decide about a message; `sender` is '' for the null sender, which only its host can match."""
        if self._blocks and remote_ip:
            address = parse_address(remote_ip)
            for block, choice in self._blocks:
                if block.contains(address):
                    return choice
        local, _, domain = sender.lower().rpartition("@")
        if not self._keyed or not sender:
            return NO_CHOICE
        domain = canonical(domain)
        for key in ((Kind.ADDRESS, f"{local}@{domain}"), (Kind.USER, local), (Kind.DOMAIN, domain)):
            found = self._keyed.get(key)
            if found is not None:
                return found
        return NO_CHOICE
