"""DANE for mail (RFC 7672): which TLSA records bind a host, and when there are none for sure.

Called by `mail/delivery/tls/plan.py` for each domain. The rule behind all of this: what could not be looked up is never
taken for "no records". Needs a resolver that validates; with another there is no DANE. Logs nothing.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from core.chain import usable
from core.dns import Answer, DnsNotFound, DnsTemporary, Resolver, Tlsa
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable


@dataclass(frozen=True, slots=True)
class HostDane:
    """The TLSA records that bind one host."""

    base: str
    """TLSA base domain: what is asked for in SNI."""
    names: tuple[str, ...] = ()
    """What a certificate below a DANE-TA authority may be for."""
    usable: tuple[Tlsa, ...] = ()
    """Empty: there are records, none that can be used; then TLS is required and the certificate is not looked at."""
    found: tuple[Tlsa, ...] = ()
    problem: str = ""
    """Why the records are not known: the host must not be used."""


class Dane:
    """Looks up TLSA records."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    @property
    def possible(self) -> bool:
        """Whether the resolver's word on DNSSEC counts."""
        return self._resolver.validating

    async def hosts(self, domain: str, resolution: Resolution) -> dict[str, HostDane]:
        """Give by name the hosts of a domain that TLSA records bind, or may bind. Empty if the MX is not secure.

        Raises `HostUnusable` if nobody can tell whether it is.
        """
        if not self.possible or not await self._secure(domain, resolution):
            return {}
        wanted = {target.host: target.port for target in resolution.targets()}
        found = await asyncio.gather(*(self.host(domain, host, port) for host, port in wanted.items()))
        return {host: one for host, one in zip(wanted, found, strict=True) if one is not None}

    async def _secure(self, domain: str, resolution: Resolution) -> bool:
        """Tell whether DNSSEC vouches for the very exchangers that were resolved (RFC 7672 2.2.1)."""
        try:
            answer = await self._resolver.mx(domain)
        except DnsNotFound:
            return False
        except DnsTemporary as problem:
            raise HostUnusable(f"DANE: the MX of {domain} cannot be looked up again: {problem}") from problem
        if answer.secure and answer.records != resolution.mx:
            raise HostUnusable(f"DANE: the MX of {domain} has just changed")
        return answer.secure

    async def host(self, domain: str, host: str, port: int) -> HostDane | None:
        """Give what binds one host, None if surely nothing does (RFC 7672 2.2.2)."""
        try:
            addresses = await self._resolver.addresses(host)
            bases = await self._bases(host, addresses)
        except DnsTemporary as problem:
            return HostDane(host, problem=str(problem))
        except DnsNotFound:
            return None
        for base in bases:
            try:
                answer = await self._resolver.tlsa(f"_{port}._tcp.{base}")
            except DnsNotFound:
                continue
            except DnsTemporary as problem:
                return HostDane(base, problem=str(problem))
            if answer.records and answer.secure:
                names = tuple(dict.fromkeys((base, host, domain)))
                return HostDane(base, names, tuple(filter(usable, answer.records)), answer.records)
        return None

    async def _bases(self, host: str, addresses: Answer[str]) -> Iterable[str]:
        """Give the TLSA base domains to try: the name that an alias leads to, then the name itself."""
        if addresses.secure:
            return (addresses.canonical, host) if addresses.canonical else (host,)
        if addresses.canonical and (await self._resolver.alias(host)).secure:
            return (host,)
        return ()
