"""Whether a machine does its work: what `gatepost health`, `/healthz`, `/readyz` and the metrics say.

*Alive* means that every daemon answers on its control socket. *Ready* is more: every daemon has said that it is
ready, and nothing keeps the machine from its work. What each check finds is `ok`, `degraded` (people should look, the
machine goes on) or `failed` (whoever has another machine to go to should go there):

- a daemon: failed if it does not answer, or is not ready;
- receiving, quarantine, spool, delivery: what the daemons themselves say (`core.condition.Concern`);
- disk: failed below the reserve of the spool;
- dns: degraded without an answer, since mail is taken and waits, and one name server must not take every gateway out;
- database: failed if a bastion's does not answer.

Each check is a function bounded in time. Imports little: a container asks twice a minute. Raises nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core import control
from core.clock import now
from core.disk import Disk, share
from core.errors import EX_NOPERM, GatepostError
from core.role import ON

OK, DEGRADED, FAILED = "ok", "degraded", "failed"
STATES = (OK, DEGRADED, FAILED)
READY = "ready"
CHECKS = {
    "esa": ("receiving", "quarantine", "spool", "delivery", "disk", "dns"),
    "sma": ("quarantine", "spool", "delivery", "disk", "dns"),
    "bastion": ("disk", "database"),
}
"""What is looked at on a machine of each role, beside its daemons."""
_ASK_S = 2.0
_PROBE_S = 3.0
_DISK_S = 2.0


@dataclass(frozen=True)
class Place:
    """What has to be known of a machine in order to look at it."""

    role: str
    hostname: str
    dir: Path
    reserve_percent: float = 5.0
    leave_out: frozenset[str] = frozenset()
    """Daemons that are not run there."""
    gateways: int = 1
    """Processes of the gateway that should run at the least."""
    certificates: Mapping[str, Path] = field(default_factory=dict)
    """Certificates that end some day, by name."""

    @classmethod
    def of(cls, tables: Mapping[str, Any], folder: Path) -> "Place":
        """Take what is needed from the tables of a document, which need not have been checked; the role must be one."""
        names = ("appliance", "spool", "health", "runtime")
        appliance, spool, section, runtime = (_table(tables.get(name)) for name in names)
        reserve, left, gateways = spool.get("reserve_percent"), section.get("leave_out"), runtime.get("gateways")
        rows = [_table(row) for row in tables.get("certificate") or ()]
        named = {str(row.get("name") or row.get("certificate")): folder / str(row.get("certificate")) for row in rows}
        return cls(
            str(appliance["role"]),
            str(appliance.get("hostname", "")),
            folder,
            float(reserve) if isinstance(reserve, int | float) else cls.reserve_percent,
            frozenset(map(str, left)) if isinstance(left, list | tuple) else frozenset(),
            gateways if isinstance(gateways, int) else cls.gateways,
            {"keys/tls.crt": folder / "keys" / "tls.crt", **named},
        )

    def sockets(self) -> list[Path]:
        """Give the control sockets of the daemons that should run, and those of further gateways that ever did."""
        run = self.dir / "run"
        found: list[Path] = []
        for daemon in ON[self.role]:
            if daemon in self.leave_out:
                continue
            many = {run / f"gateway-{number}.sock" for number in range(self.gateways)}
            found += sorted(many.union(run.glob("gateway-*.sock"))) if daemon == "gateway" else [run / f"{daemon}.sock"]
        return found


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class Check(NamedTuple):
    """What one look found."""

    check: str
    state: str
    text: str = ""


@dataclass(frozen=True)
class Pulse:
    """What one daemon said."""

    daemon: str
    document: dict[str, Any] | None = None
    """Its answer to `health`."""
    problem: str = ""
    """Why there is none."""

    @property
    def state(self) -> str:
        """`starting`, `ready`, `stopping`; `down` without an answer."""
        return str(self.document["state"]) if self.document else "down"

    def check(self, *, ready: bool) -> Check:
        """Judge the daemon: whether it answers, with `ready` whether it has begun its work as well."""
        if self.document is None:
            return Check(self.daemon, FAILED, self.problem)
        waiting = ", ".join(self.document.get("waiting_for") or ())
        if ready and self.state != READY:
            return Check(self.daemon, FAILED, f"{self.state}{f', waits for {waiting}' if waiting else ''}")
        return Check(self.daemon, OK)


class Report(NamedTuple):
    """All that was found."""

    pulses: tuple[Pulse, ...]
    checks: tuple[Check, ...]

    @property
    def state(self) -> str:
        """The worst of all states."""
        return max((one.state for one in self.checks), key=STATES.index, default=OK)

    def document(self) -> dict[str, Any]:
        """Give the JSON document."""
        return {
            "state": self.state,
            "as_of": now(),
            "daemons": [_row(pulse) for pulse in self.pulses],
            "checks": [one._asdict() for one in self.checks],
        }


def _row(pulse: Pulse) -> dict[str, Any]:
    facts = pulse.document or {}
    return {"daemon": pulse.daemon, "state": pulse.state} | {
        name: facts[name] for name in ("pid", "uptime_s", "loop_lag_s") if name in facts
    }


async def alive(place: Place) -> Report:
    """Ask every daemon whether it is there."""
    found = await pulses(place)
    return Report(found, tuple(pulse.check(ready=False) for pulse in found))


async def ready(place: Place) -> Report:
    """Look at everything; takes as long as the slowest check, a few seconds at most."""
    found, full, names = await asyncio.gather(pulses(place), disk(place), outside(place))
    checks = [pulse.check(ready=True) for pulse in found]
    return Report(found, (*checks, *concerns(found), full, names))


async def pulses(place: Place) -> tuple[Pulse, ...]:
    """Ask every daemon for its health, all at once."""
    return tuple(await asyncio.gather(*(_pulse(path) for path in place.sockets())))


async def _pulse(path: Path) -> Pulse:
    try:
        return Pulse(path.stem, await control.call(path, "health", timeout_s=_ASK_S))
    except control.NotReached:
        return Pulse(path.stem, problem="does not run")
    except GatepostError as error:
        return Pulse(path.stem, problem=error.text)


def concerns(found: Iterable[Pulse]) -> list[Check]:
    """Give what the daemons say of themselves, each thing once though several gateways see it."""
    said = {
        Check(str(one["check"]), FAILED if one["grave"] else DEGRADED, str(one["text"])): None
        for pulse in found
        for one in (pulse.document or {}).get("concerns") or ()
    }
    return list(said)


async def disk(place: Place) -> Check:
    """Compare the free space of the spool's file system with the reserve, which no mail may take."""
    folder = place.dir / "spool"
    try:
        async with asyncio.timeout(_DISK_S):
            free, total = await asyncio.to_thread(Disk().space, folder if folder.exists() else place.dir)
    except TimeoutError:
        return Check("disk", FAILED, f"the file system does not answer within {_DISK_S:g} s")
    except OSError as error:
        return Check("disk", FAILED, f"the folder of the machine cannot be looked at: {error.strerror}")
    least = share(place.reserve_percent / 100, total)
    if free < least:
        return Check("disk", FAILED, f"{free >> 20} MiB are free, the reserve is {least >> 20} MiB")
    return Check("disk", OK)


async def outside(place: Place) -> Check:
    """Have a daemon ask what it depends on: a bastion its database, the others a name server."""
    if place.role == "bastion":
        problem = await _probe([place.dir / "run" / "bastion.sock"], "database_probe")
        return Check("database", FAILED if problem else OK, problem)
    problem = await _probe([path for path in place.sockets() if path.stem not in _NAMELESS], "dns_probe")
    return Check("dns", DEGRADED if problem else OK, problem)


_NAMELESS = frozenset({"release-host", "console", "web"})
"""Daemons without the verb `dns_probe`."""


async def _probe(paths: Sequence[Path], verb: str) -> str:
    """Ask the first of several daemons that answers; give the problem, '' for none."""
    try:
        async with asyncio.timeout(_PROBE_S):
            for path in paths:
                try:
                    return str((await control.call(path, verb, timeout_s=_PROBE_S))["problem"])
                except GatepostError as error:
                    if error.status == EX_NOPERM:
                        return error.text
    except TimeoutError:
        return f"no answer within {_PROBE_S:g} s"
    return "no daemon answers that could be asked"
