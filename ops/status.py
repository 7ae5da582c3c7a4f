"""The state, counters, rates and gauges of the whole machine, merged from what its daemons say.

Used by the command `status`, the status log, `/xml/status` and the metrics. A daemon that does not answer is named;
the figures of the others still count. Raises status 69 when none answers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import EX_UNAVAILABLE, EX_USAGE, GatepostError
from ops.cli.appliance import Answer, Appliance
from ops.figures import CURRENT_IDS

Document = dict[str, Any]

PERCENT = frozenset({"ram_utilization", "total_utilization", "cpu_utilization", "disk_utilization", "log_used"})
_ONE_FOR_ALL = (PERCENT - {"cpu_utilization"}) | {"resource_conservation", "kbytes_free", "log_available", *CURRENT_IDS}
_RECEIVING = ("gateway", "cpq-listener")
_DELIVERY = ("delivery-queue",)
_OLDEST = ("up_since_at", "oldest_message_at")


def _pick(name: str) -> Callable[[float, float], float]:
    return max if name in _ONE_FOR_ALL else (lambda a, b: a + b)


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add up what several daemons count; of percentages of the machine, and of ids, the highest counts."""
    for name, value in more.items():
        if isinstance(value, Mapping):
            readings = into.setdefault(name, {})
            for reading, amount in value.items():
                readings[reading] = _pick(name)(readings[reading], amount) if reading in readings else amount
        elif name in into and isinstance(value, int | float) and not isinstance(value, bool):
            into[name] = _pick(name)(into[name], value)
        else:
            into.setdefault(name, value)


def _suspended(answers: Sequence[Answer], daemons: Sequence[str], word: str) -> bool:
    """Tell whether none of these daemons works: suspended, or not there at all."""
    states = [
        str((answer.document or {}).get("state", "")) if answer.document is not None else "Offline"
        for answer in answers
        if answer.daemon.rsplit("-", 1)[0] in daemons or answer.daemon in daemons
    ]
    return bool(states) and all(state.lower() in {word.lower(), "offline", "suspended"} for state in states)


def system_state(answers: Sequence[Answer]) -> str:
    """Give the state of the machine: Online, Receiving suspended, Delivery suspended or Offline."""
    receiving = _suspended(answers, _RECEIVING, "Receiving suspended")
    delivery = _suspended(answers, _DELIVERY, "Delivery suspended")
    if receiving and delivery:
        return "Offline"
    return "Receiving suspended" if receiving else "Delivery suspended" if delivery else "Online"


def _closed(answers: Sequence[Answer]) -> Document:
    """Gather what is out of service by somebody's order: listeners, destinations by name, the work queue."""
    listeners: set[str] = set()
    hosts: set[str] = set()
    work_queue: Document | None = None
    for answer in answers:
        facts = answer.document or {}
        listeners.update(facts.get("suspended_listeners") or ())
        hosts.update(facts.get("suspended_hosts") or ())
        work_queue = work_queue or facts.get("work_queue")
        if answer.daemon == "cpq-listener" and str(facts.get("state", "")).lower() == "suspended":
            listeners.add("cpq_listener")
    return {"listeners": sorted(listeners), "hosts": sorted(hosts), "work_queue": work_queue}


def merge(answers: Sequence[Answer], now: float) -> Document:
    """Make the document of `status` from the answers of the daemons."""
    document: Document = {
        "state": system_state(answers),
        "as_of": now,
        "counters": {},
        "rates": {},
        "gauges": {},
        "daemons": {
            answer.daemon: "running" if answer.error is None else f"down: {answer.error.text}" for answer in answers
        },
    }
    document["suspended"] = _closed(answers)
    document["troubles"] = [
        f"{answer.daemon}: {trouble}" for answer in answers for trouble in (answer.document or {}).get("troubles") or ()
    ]
    for answer in answers:
        facts = answer.document or {}
        for block in ("counters", "rates", "gauges"):
            _merge(document[block], facts.get(block) or {})
        if "connections" in facts:
            _merge(document["gauges"], {"conn_in": facts["connections"]})
        for name in _OLDEST:
            if facts.get(name):
                document[name] = min(facts[name], document.get(name, facts[name]))
        if facts.get("counters_reset_at"):
            document["counters_reset_at"] = max(facts["counters_reset_at"], document.get("counters_reset_at", 0.0))
    return document


def daemons_of(appliance: Appliance) -> tuple[str, ...]:
    """Name the daemons that keep figures on this machine."""
    further = tuple(daemon for daemon in ("release-host", "bastion") if appliance.has(daemon))
    return (*_RECEIVING, *_DELIVERY, *further)


async def answers_of(appliance: Appliance) -> list[Answer]:
    """Ask every daemon for its figures."""
    return [
        # A daemon that keeps no figures answers so; it runs all the same.
        Answer(answer.daemon, {}) if answer.error and answer.error.status == EX_USAGE else answer
        for answer in await appliance.ask_each(daemons_of(appliance), "status")
    ]


async def collect(appliance: Appliance) -> Document:
    """Give the document of `status`. Raises status 69 when no daemon answers at all."""
    answers = await answers_of(appliance)
    if answers and all(answer.error for answer in answers):
        names = ", ".join(answer.daemon for answer in answers)
        raise GatepostError(
            f"no daemon answers ({names}); start them with `gatepost run DAEMON --config FILE`", EX_UNAVAILABLE
        )
    return merge(answers, appliance.now())
