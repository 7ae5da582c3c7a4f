"""What is known of the addresses that mail is sent to: whether they answer, what a failure costs, what is open to them.

Kept for each virtual gateway and address, because another source address may be treated otherwise. The SMTP courier
tells it what came of each attempt and asks in which order to try addresses; `hoststatus` shows it. An address that
failed is passed over as long as there are others: first 15 seconds, twice as long after each further failure, up to
a quarter of an hour; what it has gathered goes away with time. An address that answered and failed the policy of one
domain is passed over for that domain only. Knows no policy, does no I/O, logs nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.clock import Clock
from core.smtp.target import Target

FIRST_S = 15.0
MOST_S = 900.0
DECAY_S = 600.0
"""A failure is forgotten in this time, if none follows."""
SLOW_S = 60.0
"""An address that lost a race comes after others for so long."""
UNFIT_S = 60.0
"""An address that failed a domain's policy comes after others, for that domain, for so long."""
CAREFUL_S = 3600.0
"""How long a peer that broke the protocol is spoken to in the simplest way."""
MOST = 20_000
"""Addresses remembered; the oldest that are not in use go."""


@dataclass(slots=True)
class Host:
    """One address as seen from one virtual gateway."""

    state: Literal["unknown", "up", "down"] = "unknown"
    failures: float = 0.0
    """Recent failures, with less weight the longer ago they are; as of `changed`."""
    changed: float = 0.0
    late_until: float = 0.0
    """It comes after all others until then."""
    careful_until: float = 0.0
    connections: int = 0
    last_error: str = ""


class HostTable:
    """All addresses of one process. `now` measures, `wall` tells operators the time."""

    def __init__(self, now: Clock, wall: Clock) -> None:
        self._now = now
        self._wall = wall
        self._hosts: dict[tuple[str, str], Host] = {}
        self._open: dict[str, int] = {}
        """Connections by address, from all virtual gateways."""
        self._unfit: dict[tuple[str, str, str], float] = {}
        """Until when an address comes last for one domain, by virtual gateway, address and domain."""

    def order(self, gateway: str, targets: Iterable[Target], domain: str = "") -> list[list[Target]]:
        """Group targets to be tried one group after the other: those of equal preference that follow each other, and
        those that failed lately last, for everybody or for this domain."""
        now = self._now()
        groups: dict[tuple[float, int], list[Target]] = {}
        number, preference = 0, -1
        for target in targets:
            number += target.preference != preference
            preference = target.preference
            host = self._hosts.get((gateway, target.address))
            late = host.late_until if host is not None else 0.0
            if self._unfit:
                late = max(late, self._unfit.get((gateway, target.address, domain), 0.0))
            late = late if late > now else 0.0
            groups.setdefault((late, number), []).append(target)
        return [groups[key] for key in sorted(groups)]

    def open(self, gateway: str, address: str, *, per_gateway: bool = False) -> int:
        """Count the connections to an address, open or being opened."""
        if not per_gateway:
            return self._open.get(address, 0)
        host = self._hosts.get((gateway, address))
        return host.connections if host is not None else 0

    def begin(self, gateway: str, address: str) -> None:
        """Count a connection that is being opened."""
        self._host(gateway, address).connections += 1
        self._open[address] = self._open.get(address, 0) + 1

    def end(self, gateway: str, address: str) -> None:
        """Count a connection less."""
        self._host(gateway, address).connections -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def up(self, gateway: str, address: str, domain: str = "") -> None:
        """Note that a connection came about."""
        host = self._host(gateway, address)
        self._unfit.pop((gateway, address, domain), None)
        host.state = "up"
        host.late_until = 0.0

    def down(self, gateway: str, address: str, error: str, *, only_for: str = "") -> None:
        """Note that no connection came about; `only_for` names the domain whose policy alone was the reason."""
        now = self._now()
        if only_for:
            self._unfit.pop((gateway, address, only_for), None)
            if len(self._unfit) >= MOST:
                del self._unfit[next(iter(self._unfit))]
            self._unfit[(gateway, address, only_for)] = now + UNFIT_S
            return
        host = self._host(gateway, address)
        host.failures = self._weight(host, now) + 1
        host.changed = now
        host.state, host.last_error = "down", error
        host.late_until = now + min(MOST_S, FIRST_S * 2 ** min(host.failures - 1, 20))

    def slow(self, gateway: str, address: str) -> None:
        """Note that another address answered sooner: no failure, but it comes later for a while."""
        host = self._host(gateway, address)
        host.late_until = max(host.late_until, self._now() + SLOW_S)

    def confused(self, gateway: str, address: str, error: str) -> None:
        """Note that the peer broke the protocol."""
        host = self._host(gateway, address)
        host.careful_until = self._now() + CAREFUL_S
        host.last_error = error

    def careful(self, gateway: str, address: str) -> bool:
        """Tell whether to use nothing of a peer that is not needed."""
        host = self._hosts.get((gateway, address))
        return host is not None and host.careful_until > self._now()

    def facts(self, gateways: Sequence[str], targets: Iterable[Target]) -> list[dict[str, Any]]:
        """Give what `hoststatus` shows of each address."""
        now = self._now()
        found = []
        for target in targets:
            for gateway in gateways:
                host = self._hosts.get((gateway, target.address)) or Host()
                late = max(0.0, host.late_until - now)
                document = {
                    "address": target.address,
                    "port": target.port,
                    "preference": target.preference,
                    "host": target.host,
                    "gateway": gateway,
                    "state": host.state,
                    "retry_at": self._wall() + late if late else None,
                    "connections": host.connections,
                    "last_error": host.last_error or None,
                }
                found.append(document)
        return found

    def _weight(self, host: Host, now: float) -> float:
        return max(0.0, host.failures - (now - host.changed) / DECAY_S)

    def _host(self, gateway: str, address: str) -> Host:
        key = (gateway, address)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = Host(changed=self._now())
            if len(self._hosts) > MOST:
                self._forget(key)
        return host

    def _forget(self, newest: tuple[str, str]) -> None:
        """Drop the oldest that nothing is open to."""
        for key, host in self._hosts.items():
            if not host.connections and key != newest:
                del self._hosts[key]
                return
