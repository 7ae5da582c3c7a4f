"""What of the configuration of mail must fit together: every contradiction found, none raised.

`mail/delivery/config.py` hands in the rows that are sound in themselves, each with its place in the document; what
comes back is told to the operator together with the rows that are not. Knows the sections by their attributes only.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

from mail.delivery.gateway import AUTO
from mail.delivery.route import Route, Way, parse_hosts
from protocol.domain import canonical

Place = tuple[str | int, ...]
Numbered = Sequence[tuple[int, Any]]
"""Rows of one table with their numbers from 0."""
_SHARED_LIMIT = "is more than [delivery] max_connections, the limit for all destinations together"


class Fault(NamedTuple):
    """One contradiction."""

    at: Place
    """Where in the document: names and row numbers from 0."""
    reason: str


@dataclass(frozen=True)
class Rows:
    """The rows of a document, as far as they are sound."""

    hostname: str = ""
    delivery: Any = None
    route: Numbered = ()
    destination: Numbered = ()
    bounce_profile: Numbered = ()
    text: Numbered = ()
    interface: Numbered = ()
    interface_group: Numbered = ()
    alt_source: Numbered = ()
    listener: Numbered = field(default=())
    smtp_users: int = 0
    """How many users there are, sound or not."""


def faults_of(rows: Rows) -> list[Fault]:
    """Give every contradiction, table by table."""
    return [
        *_repeated("route", rows.route, "domain"),
        *_loops(rows),
        *_repeated("bounce_profile", rows.bounce_profile, "name"),
        *_repeated("text", rows.text, "name"),
        *_profiles(rows),
        *_repeated("destination", rows.destination, "domain"),
        *_destinations(rows),
        *_interfaces(rows),
        *_sources(rows),
        *_logins(rows),
    ]


def _repeated(table: str, rows: Numbered, key: str) -> Iterable[Fault]:
    first: dict[str, int] = {}
    for number, row in rows:
        name = canonical(getattr(row, key))
        before = first.setdefault(name, number)
        if before != number:
            yield Fault((table, number, key), f"{table}[{before + 1}] is about {getattr(row, key)} already")


def _profiles(rows: Rows) -> Iterable[Fault]:
    texts = {(row.name.lower(), row.kind) for _, row in rows.text}
    for number, row in rows.bounce_profile:
        for kind in ("bounce", "delay", "success"):
            name = getattr(row, f"{kind}_text")
            if name and (name.lower(), kind) not in texts:
                reason = f"{row.name}: there is no [[text]] of the name {name} and the kind {kind}"
                yield Fault(("bounce_profile", number, f"{kind}_text"), reason)
    profiles = {"default"} | {row.name.lower() for _, row in rows.bounce_profile}
    for number, row in rows.listener:
        if row.bounce_profile and row.bounce_profile.lower() not in profiles:
            reason = f"{row.name}: there is no [[bounce_profile]] of the name {row.bounce_profile}"
            yield Fault(("listener", number, "bounce_profile"), reason)


def _destinations(rows: Rows) -> Iterable[Fault]:
    profiles = {"default"} | {row.name.lower() for _, row in rows.bounce_profile}
    most = rows.delivery.max_connections if rows.delivery is not None else None
    implied = next((row.recipient_minutes for _, row in rows.destination if row.domain == "DEFAULT"), 0)
    for number, row in rows.destination:
        at: Place = ("destination", number)
        minutes = row.recipient_minutes if "recipient_minutes" in row.model_fields_set else implied
        if row.recipient_limit and not minutes:
            reason = f"{row.domain}: recipient_limit needs recipient_minutes, 1 to 60"
            yield Fault((*at, "recipient_minutes"), reason)
        if most is not None and "max_connections" in row.model_fields_set and row.max_connections > most:
            yield Fault((*at, "max_connections"), f"{row.domain}: {row.max_connections} {_SHARED_LIMIT} ({most})")
        if row.bounce_profile and row.bounce_profile.lower() not in profiles:
            reason = f"{row.domain}: there is no [[bounce_profile]] of the name {row.bounce_profile}"
            yield Fault((*at, "bounce_profile"), reason)


def _interfaces(rows: Rows) -> Iterable[Fault]:
    yield from _repeated("interface", rows.interface, "name")
    yield from _repeated("interface_group", rows.interface_group, "name")
    interfaces = {row.name.lower() for _, row in rows.interface}
    for table, named in (("interface", rows.interface), ("interface_group", rows.interface_group)):
        for number, row in named:
            if row.name.lower() == AUTO:
                yield Fault((table, number, "name"), f"{AUTO} stands for the system's choice and cannot be a name")
    for number, row in rows.interface_group:
        if row.name.lower() in interfaces:
            yield Fault(("interface_group", number, "name"), f"there is an [[interface]] {row.name} as well")
        yield from _members(number, row, interfaces)


def _members(number: int, row: Any, interfaces: set[str]) -> Iterable[Fault]:
    times = Counter(member.lower() for member in row.interfaces)
    for place, member in enumerate(row.interfaces):
        at: Place = ("interface_group", number, "interfaces", place)
        if member.lower() not in interfaces:
            yield Fault(at, f"{row.name}: there is no [[interface]] of the name {member}")
        elif times[member.lower()] > 1:
            times[member.lower()] = 0
            yield Fault(at, f"{row.name}: {member} is named twice")


def _sources(rows: Rows) -> Iterable[Fault]:
    known = {AUTO} | {row.name.lower() for _, row in (*rows.interface, *rows.interface_group)}
    missing = "there is no [[interface]] or [[interface_group]] of the name"
    default = rows.delivery.default_interface if rows.delivery is not None else AUTO
    if default.lower() not in known:
        yield Fault(("delivery", "default_interface"), f"{missing} {default}")
    yield from _repeated("alt_source", rows.alt_source, "match")
    for number, row in rows.alt_source:
        if row.interface.lower() not in known:
            yield Fault(("alt_source", number, "interface"), f"{row.match}: {missing} {row.interface}")


def _logins(rows: Rows) -> Iterable[Fault]:
    """Find listeners where nobody could log in."""
    for number, row in rows.listener:
        at: Place = ("listener", number, "policy", "auth")
        policies = [row.inherited(), *(row.inherited(group) for group in row.sender_group)]
        asking = [policy for policy in policies if policy.auth not in (None, "off")]
        if asking and not rows.smtp_users:
            yield Fault(at, f"{row.name}: auth needs at least one [[smtp_user]]")
        if row.tls != "implicit" and any(policy.tls == "off" for policy in asking):
            yield Fault(at, f"{row.name}: auth is under TLS only, and tls is off here")


def _loops(rows: Rows) -> Iterable[Fault]:
    """Find routes that lead to a listener of this machine that would queue the mail again."""
    ours = [row for _, row in rows.listener if not row.kind.startswith("sinkhole")]
    if not ours:
        return
    port = rows.delivery.port if rows.delivery is not None else 25
    for number, row in rows.route:
        routing = parse_hosts(Route(row.domain, row.hosts))
        if routing.way is not Way.HOSTS:
            continue
        for host in routing.hosts:
            for listener in ours:
                if (host.port or port) == listener.port and _is_here(host.name, listener.address, rows):
                    reason = (
                        f"{row.domain}: {host.name} port {listener.port} is our own listener {listener.name}: a loop"
                    )
                    yield Fault(("route", number, "hosts"), reason)


def _is_here(name: str, address: str, rows: Rows) -> bool:
    if name in (address, rows.hostname.lower()):
        return True
    try:
        target, bound = ip_address(name), ip_address(address)
    except ValueError:
        return False
    if target == bound:
        return True
    here = {row.address for _, row in (*rows.interface, *rows.listener)}
    return bound.is_unspecified and (target.is_loopback or name in here)
