"""`trace`: what this gateway would do with a message, by a configuration that need not be in force.

The console has it run in its own process, off its loop: the listener's session and the pipeline (mail/rehearsal.py),
then the unsubscribe list and the resolution that delivery would go by. No daemon is asked and nothing is stored.
Raises `GatepostError` 65 for a configuration or an address that cannot be, 66 for a listener that there is not.
"""

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final

from core.config.document import check_document
from core.dns import Resolver
from core.errors import EX_DATAERR, EX_NOINPUT, ConfigError, GatepostError
from core.maillog import MailLog
from core.record import Accepted, Decision, Outcome
from core.reverse import ReverseNames
from daemons.config import Esa
from daemons.delivery import DestinationTable, destination_resolver, name_resolver, smtp_routes, unsubscribe_list
from daemons.machine import Machine
from daemons.policy import MailPolicy
from daemons.wiring import bounce_tags, verification_of
from mail.access import Access, build_access
from mail.decide import UNCHANGED, decision
from mail.delivery.resolve import BadDestination, DestinationResolver, NoDestination
from mail.delivery.unsubscribe import Unsubscribed
from mail.pipeline import Pipeline
from mail.rehearsal import Findings, Trial, rehearse
from protocol.domain import canonical

UNSUBSCRIBE: Final = "global-unsubscribe"
DESTINATION: Final = "destination"
MOST_DOMAINS: Final = 50
"""Domains of recipients that are resolved."""
MOST_SHOWN: Final = 5
RESOLVE_S: Final = 20.0
MOST_MESSAGE: Final = 1 << 20
"""Octets of the resulting message that the document has."""


class _Ready:
    """What a candidate configuration makes of a gateway."""

    def __init__(self, machine: Machine, tables: Mapping[str, Any], listener: str) -> None:
        try:
            document = check_document(tables, Esa, str(machine.config))
            self.machine = Machine(machine.config, document)
            self.pipeline = self._pipeline(document)
            self.access = self._access(document, listener)
            self.unsubscribed = unsubscribe_list(self.machine, document)
        except ConfigError as error:
            reasons = "\n".join(str(problem) for problem in error.problems)
            raise GatepostError(f"the configuration cannot be traced:\n{reasons}", EX_DATAERR) from None
        self.names: Resolver = name_resolver(document)
        table = DestinationTable(document.destination, document.bounce_profile)
        self.resolver: DestinationResolver = destination_resolver(
            self.machine, document, table, smtp_routes(document), self.names
        )

    def _pipeline(self, document: Esa) -> Pipeline:
        return MailPolicy(self.machine, document, MailLog.over(()), "trace").pipeline

    def _access(self, document: Esa, name: str) -> Access:
        section = next((one for one in document.listener if one.name.lower() == name.lower()), None)
        if section is None:
            there = ", ".join(one.name for one in document.listener) or "none"
            raise GatepostError(f"there is no listener {name}; there are: {there}", EX_NOINPUT)
        return build_access(section, verification_of(document, section, bounce_tags(self.machine, document)))


async def trace(
    machine: Machine, tables: Mapping[str, Any], asked: Mapping[str, Any], content: bytes
) -> dict[str, Any]:
    """Trace a message; `asked` has address, host (None = looked up), listener, sender and recipients."""
    try:
        ip_address(asked["address"])
    except ValueError:
        raise GatepostError(f"{asked['address']!r} is not an IP address", EX_DATAERR) from None
    ready = await asyncio.to_thread(_Ready, machine, tables, asked["listener"])
    host = asked["host"] if asked["host"] is not None else await _name_of(ready.names, asked["address"])
    recipients = tuple(asked["recipients"])
    trial = Trial(asked["address"], host, asked["sender"], recipients, content)
    found = await asyncio.to_thread(rehearse, trial, ready.access, ready.pipeline, machine.hostname)
    if found.accepted is not None and found.outcome is not None:
        found.decisions += await _leaving(ready, found.accepted, found.outcome)
    return _document(trial, ready, found)


async def _name_of(names: Resolver, address: str) -> str:
    found = await ReverseNames(names, timeout_s=RESOLVE_S).find(address)
    return found.name if found.verified else ""


async def _leaving(ready: _Ready, accepted: Accepted, outcome: Outcome) -> list[Decision]:
    """Give what delivery would decide; nothing of a message that goes nowhere."""
    if outcome.verdict == "quarantine":
        return [
            decision(
                DESTINATION, "", "", f"{outcome.destination}: {', '.join(one.quarantine for one in outcome.holds)}"
            )
        ]
    if outcome.verdict != "deliver":
        return []
    made = [_unsubscribed(ready.unsubscribed, one.address) for one in accepted.recipients[:1000]]
    domains = dict.fromkeys(canonical(one.address.rpartition("@")[2]) for one in accepted.recipients)
    return made + [await _resolved(ready.resolver, domain) for domain in list(domains)[:MOST_DOMAINS]]


def _unsubscribed(table: Unsubscribed, address: str) -> Decision:
    entry = table.match(address)
    verdict = {"drop": "dropped", "bounce": "bounced"}[table.action] if entry else UNCHANGED
    return decision(UNSUBSCRIBE, entry, address, verdict)


async def _resolved(resolver: DestinationResolver, domain: str) -> Decision:
    rule = "DNS"
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await resolver.resolve(domain)
    except (BadDestination, NoDestination) as error:
        return decision(DESTINATION, rule, domain, str(error))
    except TimeoutError:
        return decision(DESTINATION, rule, domain, "no answer of the name servers in time")
    rule = "SMTP route" if found.routed else rule
    targets = found.targets()
    shown = ", ".join(str(one) for one in targets[:MOST_SHOWN])
    more = f" and {len(targets) - MOST_SHOWN} more" if len(targets) > MOST_SHOWN else ""
    return decision(DESTINATION, rule, domain, "discarded: /dev/null" if found.drop else shown + more)


def _document(trial: Trial, ready: _Ready, found: Findings) -> dict[str, Any]:
    outcome, accepted = found.outcome, found.accepted
    verdict = "refused" if outcome is None else outcome.verdict
    return {
        "listener": ready.access.name,
        "address": trial.address,
        "host": trial.host,
        "verdict": verdict,
        "reason": found.refused or (outcome.reason if outcome is not None else ""),
        "sender": accepted.sender if accepted is not None else trial.sender,
        "recipients": [one.address for one in accepted.recipients] if accepted is not None else [],
        "quarantines": _held(outcome),
        "replies": found.replies,
        "decisions": [_plain(one) for one in found.decisions],
        "log": found.lines,
        "message": found.content[:MOST_MESSAGE].decode("utf-8", "replace"),
    }


def _held(outcome: Outcome | None) -> list[dict[str, str]]:
    holds: Iterable[Any] = outcome.holds if outcome is not None else ()
    return [{"name": one.quarantine, "reason": one.reason, "matched": one.matched} for one in holds]


def _plain(one: Decision) -> dict[str, Any]:
    return {
        "stage": one.stage,
        "rule": one.rule,
        "input": one.input,
        "verdict": one.verdict,
        "microseconds": one.microseconds,
    }
