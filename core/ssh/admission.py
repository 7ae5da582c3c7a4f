"""Who may come in before anything is known of them: counts, random early drop, penalties, and when to come back.

asyncssh has none of this. `core/ssh/server.py` asks one `AcceptGate` per front before any cryptography is done.
Sources are counted as `network_of` gives them. Knows no sockets; the clock and the dice are handed in.
"""

import math
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address

from core import clock

EARLY_RATE = 0.3
"""The share that is dropped when early drop begins; it rises to all at the full number (OpenSSH's MaxStartups)."""
LONGEST_RETURN_S = 300.0
SLOWEST_S = 0.1
"""When few come, the time between two logins says nothing of how fast they could be."""
HASTE = 0.8
"""Of that time: each adds a quarter to its wait, on the average."""
PENALISED = "a penalty stands against this source"
NO_AUTH, AUTH_FAILED, TIMED_OUT = "no-auth", "auth-failed", "timed-out"
LOOKED, EXCHANGED = "looked", "exchanged"
"""It left by itself: with our banner, before it asked for anything; or before any login, after a whole key exchange."""

Networks = Sequence[IPv4Network | IPv6Network]


@dataclass(frozen=True, slots=True)
class PenaltyTerms:
    """What a connection that came to nothing costs its source, in seconds (OpenSSH's PerSourcePenalties).

    Who reads the banner and leaves costs us nothing: a balancer's check, `telnet`. Who sees the host key and leaves
    costs us a key exchange: an appliance's probe does that on each port, and may a few times in a row.
    """

    seconds: dict[str, float] = field(
        default_factory=lambda: {LOOKED: 0.0, EXCHANGED: 0.1, NO_AUTH: 1.0, AUTH_FAILED: 5.0, TIMED_OUT: 10.0}
    )
    least_s: float = 15.0
    """Below this the sum only gathers."""
    most_s: float = 600.0
    sources: int = 65536


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """How many connections are taken. The per-source limit counts an IPv6 /64 as one source."""

    unauthenticated: int = 100
    early_drop: int = 30
    """From so many on that have not logged in, some are dropped at random."""
    unauthenticated_per_source: int = 10
    connections: int = 1000
    login_timeout_s: float = 20
    tries: int = 6
    """Keys and passwords that one connection may try in vain."""
    handshakes: int = 0
    """Key exchanges at once; 0 = no such limit."""
    penalties: PenaltyTerms | None = None
    exempt: Networks = ()
    """Sources without penalties and without a limit of their own: a customer's many machines behind one address."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection that did not get in: where from, to which endpoint, by which rule, and why."""

    source: str
    local: str
    reason: str
    rule: str = "other"
    """One word for counting: full, early-drop, source, penalty, time-out, busy, proxy, tls, http, login, broken."""


@dataclass(slots=True)
class _Standing:
    until: float
    active: bool


class Penalties:
    """What sources have to wait for what they did. Bounded: the oldest entry makes room."""

    def __init__(self, terms: PenaltyTerms, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._terms = terms
        self._now = monotonic
        self._of: dict[str, _Standing] = {}

    def add(self, network: str, what: str) -> None:
        """Charge a source for a connection that came to nothing."""
        if not self._terms.seconds[what]:
            return
        now = self._now()
        standing = self._of.get(network)
        if standing is None or standing.until <= now:
            self._of.pop(network, None)
            if len(self._of) >= self._terms.sources:
                del self._of[next(iter(self._of))]
            standing = self._of[network] = _Standing(now, False)
        standing.until = min(standing.until + self._terms.seconds[what], now + self._terms.most_s)
        standing.active = standing.active or standing.until - now >= self._terms.least_s

    def left_s(self, network: str) -> float:
        """Give how long a source is kept out still."""
        standing = self._of.get(network)
        if standing is None or not standing.active:
            return 0.0
        return max(0.0, standing.until - self._now())


class Returns:
    """Tells those who find us busy when to come back, one after the other at the speed at which we take them."""

    def __init__(self, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._now = monotonic
        self._booked = 0.0
        self._last = monotonic()
        self._busy = False
        self._each_s = 0.01

    def logged_in(self, waiting: int) -> None:
        """Learn at which speed logins are completed, from the time between two with others waiting all along.

        Time in which nobody waited would make those who are asked to come later come ever later.
        """
        now = self._now()
        if self._busy:
            self._each_s += (min(max(now - self._last, 0.001), SLOWEST_S) - self._each_s) / 8
        self._last, self._busy = now, waiting > 0

    def book(self, waiting: int) -> int:
        """Give the whole seconds after which one more may come; each who asks gets a later place."""
        now = self._now()
        self._booked = max(self._booked, now + waiting * self._each_s) + self._each_s * HASTE
        return max(1, round(min(self._booked - now, LONGEST_RETURN_S)))


class AcceptGate:
    """Counts connections and says who may come in."""

    def __init__(
        self,
        limits: AcceptLimits,
        dice: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._limits = limits
        self._dice = dice
        self._waiting: Counter[str] = Counter()
        self._unknown = 0
        self._total = 0
        self._penalties = Penalties(limits.penalties, monotonic) if limits.penalties else None
        self.returns = Returns(monotonic)

    @property
    def unknown(self) -> int:
        """How many are in that have not logged in."""
        return self._unknown

    @property
    def total(self) -> int:
        """How many are in."""
        return self._total

    def refuse(self, source: str) -> tuple[str, str] | None:
        """Give rule and reason to turn this source away, or None after counting it in."""
        limits = self._limits
        network = network_of(source)
        exempt = self.exempt(source)
        if self._penalties is not None and not exempt and self._penalties.left_s(network):
            return "penalty", PENALISED
        if self._total >= limits.connections:
            return "full", "too many connections"
        if self._unknown >= limits.unauthenticated:
            return "full", "too many connections that have not logged in"
        if source and not exempt and self._waiting[network] >= limits.unauthenticated_per_source:
            return "source", "too many connections from this source that have not logged in"
        if self._dropped():
            return "early-drop", "many connections have not logged in: this one was dropped by chance"
        self._total += 1
        self._unknown += 1
        self._waiting[network] += 1
        return None

    def kept_out_s(self, source: str) -> int:
        """Give the whole seconds for which a penalty keeps a source out still; 0 if none does."""
        return 0 if self._penalties is None else math.ceil(self._penalties.left_s(network_of(source)))

    def exempt(self, source: str) -> bool:
        """Tell whether a source has no limits of its own."""
        if not self._limits.exempt or not source:
            return False
        address = ip_address(source.partition("%")[0].removeprefix("::ffff:"))
        return any(address in network for network in self._limits.exempt)

    def _dropped(self) -> bool:
        limits = self._limits
        above = self._unknown - limits.early_drop
        room = limits.unauthenticated - limits.early_drop
        return above >= 0 and room > 0 and self._dice() < EARLY_RATE + (1 - EARLY_RATE) * above / room

    def authenticated(self, source: str) -> None:
        """Count a connection as logged in, or as gone before it did."""
        network = network_of(source)
        self._unknown -= 1
        self._waiting[network] -= 1
        if self._waiting[network] <= 0:
            del self._waiting[network]

    def gone(self) -> None:
        """Count a connection out."""
        self._total -= 1

    def penalise(self, source: str, what: str) -> None:
        """Charge a source for a connection that never logged in."""
        if self._penalties is not None and source and not self.exempt(source):
            self._penalties.add(network_of(source), what)


def network_of(source: str) -> str:
    """Give what counts as one source: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in source or source.startswith("::ffff:"):
        return source
    packed = socket.inet_pton(socket.AF_INET6, source.partition("%")[0])
    return packed[:8].hex()
