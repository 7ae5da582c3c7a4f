"""The way on to a second appliance: which addresses support may reach from here, and nothing else.

An engineer's SSH goes through us to the next machine (`ssh -J`); we carry bytes that we cannot read. Without these
rules support would have a scanner inside the customer's network: only what the administrator listed when enabling
access, only the one port, only in the networks that the configuration allows.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from tunnel.appliance.hop import address_of, may_be_hop


@dataclass(frozen=True, slots=True)
class HopRule:
    """What the configuration says of hops."""

    networks: tuple[str, ...] = ()
    port: int = 22
    at_once: int = 4
    """Hops of one engineer at a time."""


def refusal(listed: Sequence[str], rule: HopRule, host: str, port: int) -> str:
    """Say why support may not go on to this host and port; '' if it may."""
    address = address_of(host)
    if address is None:
        return "name the next appliance by the address that the administrator listed"
    if not any(address == address_of(each) for each in listed):
        return f"{address} is not among the appliances that the administrator listed"
    if port != rule.port:
        return f"only port {rule.port} of another appliance may be reached"
    if not may_be_hop(address, rule.networks):
        return f"{address} is in none of the networks that may be reached"
    return ""


def comes_from(sources: Sequence[str], host: str) -> bool:
    """Tell whether a peer's address is one of those from which service logins over a hop are taken."""
    address = address_of(host)
    return address is not None and any(address in ipaddress.ip_network(each) for each in sources)
