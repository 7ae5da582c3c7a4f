"""The virtual gateways: which local address and host name a connection goes out with.

A virtual gateway is an interface or a group of interfaces by its name; the name '' is the default one. The courier
asks for a `Source` before each connection; a group gives its members in turn. Names are those of the configuration,
whatever their case. A name that no longer exists counts as the default, which the log says once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

AUTO = "auto"
"""The interface that the system chooses."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a connection comes from."""

    interface: str
    """Its name, `auto` where the system chooses."""
    address: str
    """Local address, '' = the system's choice."""
    hostname: str
    """For EHLO."""


class VirtualGateways:
    """All interfaces and groups of a machine."""

    def __init__(
        self,
        auto: Source,
        interfaces: Iterable[Source] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        *,
        default: str = AUTO,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """`auto` is what `default` means unless it names an interface or group. Raises `KeyError` for a member that
        does not exist."""
        sources = {source.interface.lower(): source for source in interfaces}
        self._turns = {name: cycle((source,)) for name, source in sources.items()}
        for name, members in (groups or {}).items():
            self._turns[name.lower()] = cycle([sources[member.lower()] for member in members])
        self._turns.setdefault(AUTO, cycle((auto,)))
        self._turns[""] = self._turns[default.lower()]
        self._warn = warn
        self._missed: set[str] = set()

    def source(self, name: str = "") -> Source:
        """Give the source of the next connection of a virtual gateway; the default's where there is none such."""
        turn = self._turns.get(name.lower())
        if turn is None:
            turn = self._turns[""]
            if name not in self._missed:
                self._missed.add(name)
                self._warn(f"virtual gateway {name} does not exist any more; its mail leaves by the default one")
        return next(turn)

    def adopt(self, other: "VirtualGateways") -> None:
        """Become what another one is, for all that hold this one."""
        self._turns = other._turns
        self._missed.clear()
