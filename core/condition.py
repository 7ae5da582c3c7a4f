"""How a daemon's services are: what keeps them from their work, what they counted, what stands still.

A service that has something to say has a method `condition`. `core/runtime.py` asks all of them for its answer to the
verb `health`, and for the watchdog; `ops/health.py` judges the machine by it. Raises nothing.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable


class Concern(NamedTuple):
    """Something that keeps a daemon from its work, or slows it."""

    check: str
    """What it is about: receiving, delivery, spool, database, …"""
    grave: bool
    """Whether the machine should be left alone by who has another one to go to."""
    text: str
    """One line without addresses of people, passwords or content: it is shown to whoever can reach the port."""


class Figure(NamedTuple):
    """One value for the metrics: `ops/metric.py` knows every name; one that only grows ends in `_total`."""

    name: str
    value: float
    labels: Mapping[str, str] = {}
    """Of few values each: never a domain or an address."""


class Stall(NamedTuple):
    """Work that a thread beside the loop has in hand, and for how long: nobody would see it standing still."""

    what: str
    seconds: float


class Condition(NamedTuple):
    """How a service is."""

    concerns: tuple[Concern, ...] = ()
    figures: tuple[Figure, ...] = ()
    stalls: tuple[Stall, ...] = ()


@runtime_checkable
class Telling(Protocol):
    """A service that can say how it is; asked for each answer to the verb `health`, so it must be quick."""

    def condition(self) -> Condition:
        """Give what is wrong and what was counted."""


def conditions(services: Iterable[object]) -> Condition:
    """Gather what all those services say that say anything."""
    said = [service.condition() for service in services if isinstance(service, Telling)]
    return Condition(
        tuple(concern for one in said for concern in one.concerns),
        tuple(figure for one in said for figure in one.figures),
        tuple(stall for one in said for stall in one.stalls),
    )
