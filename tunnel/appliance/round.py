"""One round: look the bastion up, try ports and ways, log in, register, take the name.

Gives a `Link` or a `Failed` with the problem to show, the wait that the bastion asked for, and all rows. A failure that
another port would not mend (login, registration, name, a busy bastion) ends the round at once. Called by `client.py`;
knows no state. Raises nothing but cancellation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tunnel.appliance.activation import Activation
from tunnel.appliance.hunt import Hunt, wrapped
from tunnel.appliance.link import Link, LinkTerms
from tunnel.appliance.place import Found, NoPlace, Places, by_proxy, candidates
from tunnel.appliance.registration import GenerationFile, LinkFailed
from tunnel.appliance.road import Candidate, Road
from tunnel.appliance.verdict import LOGIN_REFUSED, OURS, Attempt, Stage, Way
from tunnel.config import TunnelSection
from tunnel.control_message import Register

_STAGES = list(Stage)
_FINAL = (Stage.AUTH, Stage.REGISTER, Stage.FORWARD)


@dataclass(slots=True)
class Rows:
    """What a round has tried, each address, port and way once."""

    by_road: dict[tuple[str, int, Way], Attempt] = field(default_factory=dict)
    doing: str = ""
    """What the round is at, for a person; '' when it is over."""

    def note(self, attempt: Attempt) -> None:
        """Add a row, or replace what was known of the same road."""
        self.by_road[attempt.address, attempt.port, attempt.way] = attempt

    def problem(self) -> str:
        """Say what the attempt that came farthest met."""
        bad = [attempt for attempt in self.by_road.values() if attempt.verdict is not OURS]
        if not bad:
            return ""
        worst = max(bad, key=lambda attempt: _STAGES.index(Stage(attempt.verdict.stage)))
        detail = f" ({worst.detail})" if worst.detail else ""
        return f"port {worst.port}: {worst.verdict.advice}{detail}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A round that led to an open tunnel."""

    link: Link
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Failed:
    """A round that led to nothing."""

    problem: str
    retry_after_s: float = 0.0
    refused: bool = False
    """Whether the bastion does not take this appliance's key."""


class Dialler:
    """What rounds need, put together once."""

    def __init__(  # noqa: PLR0917 - one of each part
        self,
        section: TunnelSection,
        terms: LinkTerms,
        places: Places,
        road: Road,
        generation: GenerationFile,
        log: Callable[[str], None],
    ) -> None:
        self._section = section
        self._terms = terms
        self._places = places
        self._road = road
        self._generation = generation
        self._log = log

    @property
    def names(self) -> Sequence[str]:
        """The names of the bastion, in order."""
        return self._places.names

    async def find(self) -> Found:
        """Look the bastion up, or leave that to the proxy. Raises NoPlace."""
        if self._road.proxy is not None:
            return by_proxy(self._places.names)
        found = await self._places.find()
        if found.remembered_at:
            self._log(f"{found.problem}; trying the addresses that were good before")
        return found

    async def dial(self, activation: Activation, register: Register, rows: Rows) -> Opened | Failed:
        """Make one round."""
        name = self._places.names[0]
        rows.doing = f"looking up {name}"
        try:
            found = await self.find()
        except NoPlace as error:
            return Failed(str(error))
        rows.doing = f"trying the ports of {name}"
        hunt = Hunt(self._road, self._order(found, activation), rows.note, self._section.tls_ports)
        while won := await hunt.next():
            wire, candidate, attempt = won
            try:
                link = await Link.open(wire, self._terms, candidate.name, register, self._generation)
            except LinkFailed as error:
                rows.note(replace(attempt, verdict=error.verdict, detail=error.detail))
                self._log(f"{candidate.address} port {candidate.port}: {error.verdict.name}: {error.detail}")
                if error.verdict.stage in _FINAL or error.retry_after_s:
                    return Failed(rows.problem(), error.retry_after_s, error.verdict is LOGIN_REFUSED)
                hunt.suspect(candidate)
                continue
            rows.note(attempt)
            self._remember(found)
            return Opened(link, candidate)
        return Failed(rows.problem() or f"{name}: no port to try")

    def _order(self, found: Found, activation: Activation) -> list[Candidate]:
        """Put what the administrator asked for first, but once the tunnel was open, what was good then."""
        asked = activation.port or self._section.port
        good = [activation.last_good_port] if activation.last_good_port else []
        first = [*good, asked] if activation.proved else [asked, *good]
        order = candidates(found.places, [*first, *self._section.ports], proxied=self._road.proxy is not None)
        if not (activation.last_good_way and Way(activation.last_good_way).in_tls):
            return order
        in_tls = [wrapped(one, self._section.tls_ports) for one in order if one.port == activation.last_good_port]
        return [one for one in in_tls if one is not None] + order

    def _remember(self, found: Found) -> None:
        """Keep what is only convenient; a full disk must not end a tunnel that works."""
        try:
            self._places.remember(found)
        except OSError as error:
            self._log(f"the bastion's addresses cannot be kept: {error}")
