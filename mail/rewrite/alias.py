"""The alias table of a machine: recipients that stand for others, for several, or for nobody.

The receiving session asks it for every recipient that the access table has let in, whatever the listener
(behaviour 2.16). Left sides: `user@domain`, `user@.partial` (everything below it), `@domain` and `@.partial` (everybody
there), and `user`, of the domains that this machine takes mail for. Right sides: addresses, names of
other aliases, `/dev/null`. The first row that matches decides. Chains are followed once, when the table is built: a
circle, a name that leads nowhere and an alias for too many are faults of the configuration. An alias whose own address
is among its targets keeps it: nothing is looked up a second time there. Raises `ValueError` with the reason.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mail.rewrite.pattern import check_address, check_domain_side, check_user, key_of, partials

NOBODY = "/dev/null"
MAX_TARGETS = 1_000
"""Addresses that one alias may stand for, chains followed."""
MAX_CHAIN = 20
MAX_STEPS = 5_000_000
"""Addresses of all aliases together while chains are followed: half a second of work."""


@dataclass(frozen=True, slots=True)
class Alias:
    """One row as it is written."""

    name: str
    to: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(self.to[:5])}"


def key_of_name(text: str) -> str:
    """Read a left side; give `user@domain`, `user@.partial`, `@domain`, `@.partial` or `user`. Raises `ValueError`."""
    local, at, domain = text.strip().rpartition("@")
    if not at:
        return check_user(text)
    key = f"@{domain.lower()}" if domain.startswith("[") and local else f"@{check_domain_side(domain)}"
    return f"{check_user(local)}{key}" if local else key


def check_target(text: str) -> str:
    """Read one right side. Raises `ValueError`."""
    text = text.strip()
    if text.lower() == NOBODY:
        return NOBODY
    if "@" in text:
        return check_address(text)
    check_user(text)
    return text


class AliasTable:
    """All rows, found by hash, each with the addresses that it ends in."""

    def __init__(self, rows: Iterable[Alias] = (), ours: Callable[[str], bool] = lambda domain: True) -> None:
        """`ours` tells whether this machine takes mail for a domain. Raises `ValueError` with every fault."""
        self._rows = tuple(rows)
        self._ours = ours
        self._ranks: dict[str, int] = {}
        faults: list[str] = []
        for rank, row in enumerate(self._rows):
            try:
                self._ranks.setdefault(key_of_name(row.name), rank)
            except ValueError as error:
                faults.append(str(error))
        self._ends: dict[int, tuple[str, ...]] = {}
        self._steps = 0
        for rank in () if faults else range(len(self._rows)):
            try:
                self._resolve(rank, ())
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ValueError("; ".join(dict.fromkeys(faults)))

    def __bool__(self) -> bool:
        return bool(self._rows)

    def lookup(self, address: str) -> tuple[str, ...] | None:
        """Give the addresses that a recipient stands for: none at all for `/dev/null`, None if it is no alias."""
        rank = self._find(*key_of(address))
        return None if rank is None else self._ends[rank]

    def _find(self, local: str, domain: str) -> int | None:
        """Give the first row for a recipient."""
        keys = [f"{local}@{domain}", f"@{domain}"]
        for one in partials(domain):
            keys += [f"{local}@{one}", f"@{one}"]
        found = [rank for key in keys if (rank := self._ranks.get(key)) is not None]
        bare = self._ranks.get(local)
        if bare is not None and self._ours(domain):
            found.append(bare)
        return min(found, default=None)

    def _resolve(self, rank: int, above: tuple[int, ...]) -> tuple[str, ...]:
        if rank in self._ends:
            return self._ends[rank]
        row = self._rows[rank]
        if rank in above:
            names = [self._rows[one].name for one in (*above[above.index(rank) :], rank)]
            raise ValueError(f"the aliases go round in a circle: {' to '.join(names)}")
        if len(above) >= MAX_CHAIN:
            raise ValueError(f"'{row}': a chain of more than {MAX_CHAIN} aliases")
        ends: dict[str, None] = {}
        for target in row.to:
            below = self._ends_of(check_target(target), row, rank, above)
            self._steps += len(below)
            if self._steps > MAX_STEPS:
                raise ValueError(f"all aliases together stand for more than {MAX_STEPS:,} addresses, chains followed")
            ends |= dict.fromkeys(below)
        if len(ends) > MAX_TARGETS:
            raise ValueError(f"'{row.name}' stands for {len(ends)} addresses; at most {MAX_TARGETS}")
        self._ends[rank] = tuple(ends)
        return self._ends[rank]

    def _ends_of(self, target: str, row: Alias, rank: int, above: tuple[int, ...]) -> Sequence[str]:
        if target == NOBODY:
            return ()
        if "@" in target:
            found = self._find(*key_of(target))
            return (target,) if found is None or found == rank else self._resolve(found, (*above, rank))
        found = self._named(target, row)
        if found is None:
            raise ValueError(f"'{row}': there is no alias '{target}'; write an address, or the name of an alias")
        return self._resolve(found, (*above, rank))

    def _named(self, name: str, row: Alias) -> int | None:
        """Give the row that a name without a domain means beside another one: of its domain, else without any."""
        user = check_user(name)
        domain = key_of_name(row.name).rpartition("@")[2] if "@" in row.name else ""
        keys = [f"{user}@{domain}", *(f"{user}@{one}" for one in partials(domain))] if domain else []
        there = min((rank for key in keys if (rank := self._ranks.get(key)) is not None), default=None)
        return self._ranks.get(user) if there is None else there


NO_ALIASES = AliasTable()


def domains_of(patterns: Iterable[str], hostname: str) -> Callable[[str], bool]:
    """Tell whether a domain is this host's, or one that a recipient table takes as a whole, by its patterns."""
    known = frozenset(
        pattern.lower().rpartition("@")[2] for pattern in patterns if "@" not in pattern or pattern.startswith("@")
    )
    name = hostname.lower()
    return lambda domain: domain in ("", name) or domain in known or any(one in known for one in partials(domain))


__all__ = ["NOBODY", "NO_ALIASES", "Alias", "AliasTable", "check_target", "domains_of", "key_of_name"]
