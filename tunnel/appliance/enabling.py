"""What an administrator allows: from the words of `techsupport` to an activation with credentials of its own.

The seed is made or read, the keys are derived from it with support's public key (`tunnel/seed/`), and what is kept is
the derived public key, verifiers of the passwords and the fingerprint; the rest is dropped here. Called by
`client.py`. Raises `GatepostError`: 64 for words that do not fit, 65 for a seed, 78 for a key that is missing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import agreement
from core.errors import EX_CONFIG, EX_USAGE, GatepostError
from core.ssh import public_text
from tunnel.appliance import activation
from tunnel.appliance.activation import Activation
from tunnel.appliance.hop import address_of, may_be_hop
from tunnel.config import TunnelSection
from tunnel.seed.code import chosen, day_of, new_code, read
from tunnel.seed.derive import derive
from tunnel.seed.password import verifiers

MOST_HOPS = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the administrator asked for."""

    mode: str
    port: int
    life_s: float
    seed: str = ""
    hops: tuple[str, ...] = ()
    ask: bool = False
    shell: bool = False


def wanted_of(args: Mapping[str, Any], section: TunnelSection) -> Wanted:
    """Read the arguments of `techsupport_enable`."""
    mode = str(args.get("mode") or activation.TUNNEL).lower()
    port = args.get("port") or section.port
    hours = args.get("hours") or section.life_hours
    seed = args.get("seed") or ""
    if mode not in activation.MODES:
        raise GatepostError(f"mode is one of {', '.join(activation.MODES)}", EX_USAGE)
    if not isinstance(port, int) or not 0 < port < 65536:
        raise GatepostError("port is a number from 1 to 65535", EX_USAGE)
    if not isinstance(hours, int | float) or not 0 < hours <= section.life_hours:
        raise GatepostError(f"hours is a number up to {section.life_hours:g}, which is tunnel.life_hours", EX_USAGE)
    if not isinstance(seed, str):
        raise GatepostError("the seed string is a text", EX_USAGE)
    hops = hops_of(args.get("hops") or (), section.hop_networks)
    return Wanted(mode, port, hours * 3600.0, seed, hops, bool(args.get("ask")), bool(args.get("shell")))


def hops_of(words: Any, networks: Sequence[str]) -> tuple[str, ...]:
    """Read the addresses that support may go on to, all within these networks. Raises status 64."""
    if not isinstance(words, list | tuple) or len(words) > MOST_HOPS:
        raise GatepostError(f"hops is a list of at most {MOST_HOPS} addresses", EX_USAGE)
    found = []
    for word in words:
        address = address_of(str(word))
        if address is None:
            raise GatepostError(f"{str(word)[:60]!r} is not an address of an appliance", EX_USAGE)
        if not may_be_hop(address, networks):
            raise GatepostError(f"{address} is in none of tunnel.hop_networks: support may not go there", EX_USAGE)
        found.append(str(address))
    return tuple(dict.fromkeys(found))


class Enabling:
    """Makes activations for one machine."""

    def __init__(self, section: TunnelSection, serial: str, exchange_key: bytes) -> None:
        self._section = section
        self._serial = serial
        self._exchange_key = exchange_key

    async def allow(self, wanted: Wanted, now: float, before: Activation) -> tuple[Activation, str]:
        """Give the activation that follows, and the seed to tell support. Takes a second of a thread."""
        new = activation.enabled(wanted.mode, now, wanted.life_s, wanted.port, before)
        limit_s = self._section.account_hours * 3600.0
        new = activation.changed(
            new,
            hops=wanted.hops,
            ask=wanted.ask,
            shell=wanted.shell,
            account_until_at=new.latest_at + limit_s if limit_s else 0.0,
        )
        return await asyncio.to_thread(self._with_credentials, new, wanted)

    def _with_credentials(self, new: Activation, wanted: Wanted) -> tuple[Activation, str]:
        until_at = new.latest_at + wanted.life_s
        key_id, support_key = self._support_key()
        seed = chosen(wanted.seed, self._serial) if wanted.seed else read(new_code(key_id, until_at))
        # A chosen string carries no day: that of the tunnel's end counts, and 0 for an account, which has none.
        day = seed.day if seed.day is not None else day_of(new.tunnel_until_at)
        derived = derive(
            agreement.agree(self._exchange_key, support_key),
            seed,
            serial=self._serial,
            appliance_key=agreement.public_of(self._exchange_key),
            support_key=support_key,
            key_id=key_id,
            day=day,
            mode=wanted.mode,
        )
        kept = activation.changed(
            new,
            service_key=public_text(derived.key),
            passwords=verifiers(derived.code_key),
            key_id=key_id,
            day=day,
            seed_fingerprint=derived.fingerprint,
        )
        return kept, str(seed)

    def _support_key(self) -> tuple[int, bytes]:
        """Give the key of support that is used now, and its number."""
        if not self._section.support_keys:
            raise GatepostError("no key of the support organisation is configured: set tunnel.support_keys", EX_CONFIG)
        return agreement.numbered(self._section.support_keys[0])
