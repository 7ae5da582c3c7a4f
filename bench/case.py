"""What is measured: size, sessions, messages a connection, TLS."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One load: `count` messages of `size` octets over `sessions` connections at a time."""

    name: str
    size: int
    sessions: int
    count: int
    waves: int = 1
    """How often all connections are opened: `count / sessions / waves` messages go over each. 0 = one message each."""
    tls: bool = False
    """Whether the client says STARTTLS first."""

    @property
    def kept(self) -> bool:
        """Whether connections carry more than one message."""
        return self.waves > 0

    def shared(self, share: float) -> "Case":
        """Give the case with a part of its messages, for a slow system: fewer over each connection."""
        if share == 1.0:
            return self
        each = max(self.sessions, round(self.count * share / self.sessions) * self.sessions)
        return Case(self.name, self.size, self.sessions, each, min(self.waves, 1), self.tls)


def _plain() -> list[Case]:
    return [
        Case("4k-kept-20", 4096, 20, 6000, waves=3),
        Case("4k-kept-200", 4096, 200, 20_000),
        Case("4k-single-20", 4096, 20, 3000, waves=0),
        Case("4k-single-200", 4096, 200, 4000, waves=0),
        Case("100k-kept-20", 102_400, 20, 2000),
        Case("100k-kept-200", 102_400, 200, 4000),
        Case("100k-single-20", 102_400, 20, 1000, waves=0),
        Case("100k-single-200", 102_400, 200, 1000, waves=0),
    ]


CASES = tuple(_plain()) + tuple(
    Case(f"{one.name}-tls", one.size, one.sessions, one.count // 2, one.waves, tls=True) for one in _plain()
)


def chosen(names: str) -> list[Case]:
    """Give the cases named in a comma separated list: whole names, or beginnings such as `4k-kept`."""
    if names == "all":
        return list(CASES)
    found: dict[str, Case] = {}
    for name in names.split(","):
        exact = [case for case in CASES if case.name == name]
        several = exact or [case for case in CASES if case.name.startswith(name)]
        if not several:
            raise SystemExit(f"no case is called {name}; there are: {', '.join(case.name for case in CASES)}")
        found |= {case.name: case for case in several}
    return list(found.values())
