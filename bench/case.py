"""What is measured: the size, the sessions and the way connections are used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One load: `count` messages of `size` octets over `sessions` connections at a time."""

    name: str
    size: int
    sessions: int
    count: int
    kept: bool = True


CASES = (
    Case("4k-kept-20", 4096, 20, 6000),
    Case("100k-kept-20", 102_400, 20, 1500),
    Case("4k-single-50", 4096, 50, 3000, kept=False),
)


def chosen(names: str) -> list[Case]:
    """Give the cases named in a comma separated list; a name may be a beginning such as `4k-kept`."""
    if names == "all":
        return list(CASES)
    wanted = names.split(",")
    found = [case for case in CASES if any(case.name.startswith(name) for name in wanted)]
    if not found:
        raise SystemExit(f"no case is called {names}; there are: {', '.join(case.name for case in CASES)}")
    return found
