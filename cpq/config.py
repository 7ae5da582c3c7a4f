"""The configuration of the central quarantine: `[cpq]` on both machines, `[[quarantine]]` on the management host.

`daemons/config.py` composes the sections into its documents; the roots hand what the functions here give to the
objects. Everything that can be checked without looking outside is checked here.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field

from core.config import Host, Port, Section
from cpq.policy import DAY_S, Policy, Quarantine
from cpq.state import Event

_UNITS = {"m": 60.0, "h": 3600.0, "d": DAY_S}
_DURATION = re.compile(r"(\d{1,6})\s*(m|h|d|minutes?|hours?|days?)")


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip().lower())
        if match is None:
            raise ValueError('a time is a number with its unit: "90 minutes", "8 hours", "10 days"')
        return int(match[1]) * _UNITS[match[2][0]]
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_duration), Field(ge=60, le=3650 * DAY_S)]


class CpqSection(Section):
    """`[cpq]`: the hidden listener of either machine."""

    address: Host = Field(default="0.0.0.0", description="address that cpq_listener binds")
    port: Port = Field(default=7025, description="port of cpq_listener")
    public_address: str = Field(
        default="", description="address that the paired machine is told, where it differs from `address`"
    )
    implicit_tls: bool = Field(
        default=False, description="TLS from the first octet instead of STARTTLS; set it on both machines"
    )
    max_connections: int = Field(default=100, ge=1, le=10_000, description="connections at a time")


class EsaCpqSection(CpqSection):
    """`[cpq]` of a gateway: where it takes released mail back."""


class SmaCpqSection(CpqSection):
    """`[cpq]` of a management host: where it takes mail into quarantine."""

    alternate_release_appliance: str = Field(
        default="", description="serial of the gateway that takes released mail of gateways no longer paired"
    )
    quota_mib: int = Field(default=0, ge=0, description="room for all quarantines together, in MiB; 0 = no limit")


class QuarantineSection(Section):
    """`[[quarantine]]`: one quarantine, or a system-made one with other settings."""

    name: str = Field(description="name that filters give; it cannot be changed later", min_length=1, max_length=128)
    retention: Duration = Field(
        default=cast(float, "10 days"),
        validate_default=True,
        description='how long a message is kept: "90 minutes", "8 hours", "10 days"',
    )
    default_action: Annotated[Literal["delete", "release"], BeforeValidator(_lower)] = Field(
        default="delete", description="what happens when the retention is over: delete or release"
    )
    makes_room: bool = Field(
        default=True, description="apply the default action early when all room is used, what expires soonest first"
    )


def policy_of(sections: Sequence[QuarantineSection]) -> Policy:
    """Give the policy that the sections describe. Raises ValueError for repeated names, or if none makes room."""
    names = [one.name for one in sections]
    if len(set(names)) != len(names):
        raise ValueError("two [[quarantine]] sections have the same name")
    policy = Policy(Quarantine(one.name, one.retention, Event(one.default_action), one.makes_room) for one in sections)
    if not any(policy.named(name).makes_room for name in policy.names):
        raise ValueError("makes_room must not be false for every quarantine")
    return policy
