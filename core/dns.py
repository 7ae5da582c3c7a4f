"""Name lookups through the configured resolvers, with a cache.

Called by delivery (MX, addresses) and the tunnel client (addresses). Only this module knows dnspython. Names are
absolute; there is no search list. It knows nothing of mail rules: that `MX 0 .` means "no mail" is decided by its
caller.

Raises `DnsNotFound` when the name or the record surely does not exist and `DnsTemporary` when nobody could tell.
Logs nothing; `Resolver.statistics` counts.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dns.asyncquery
import dns.entropy
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from core import clock
from core.config.section import DnsSection
from core.dns_root import Astray, Descent
from core.name_server import NameServer, NameServers, is_address
from core.runtime import spawn

_Record = TypeVar("_Record")
_Key = tuple[str, str]

_UDP_OCTETS = 1232
_CHAIN_LIMIT = 8
_RECORD_LIMIT = 64
_TTL_LIMIT_S = 86_400.0
_NEGATIVE_TTL_LIMIT_S = 300.0
_REVERSE_S = 20.0


class DnsError(Exception):
    """A lookup without an answer: `name` and `kind` say which, `reason` why in a word or two."""

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(f"{name} ({kind}): {reason}")
        self.name = name
        self.kind = kind
        self.reason = reason


class DnsNotFound(DnsError):
    """It surely does not exist."""


class DnsTemporary(DnsError):
    """No resolver could tell: SERVFAIL, time-out, refusal or nonsense."""


@dataclass(frozen=True, slots=True)
class Mx:
    """One mail exchanger; `host` is '.' in a null MX (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Srv:
    """One service location (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record (RFC 6698 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer(Generic[_Record]):
    """The records found, in a stable order. Empty: the name exists, such records do not."""

    records: tuple[_Record, ...]
    ttl_s: float
    secure: bool = False
    """A resolver that is trusted with it says that it validated the answer (AD, RFC 4035)."""
    canonical: str = ""
    """The name that an alias led to; '' if the name asked for has the records itself."""


@dataclass(slots=True)
class Statistics:
    """Counters since start."""

    requests: int = 0
    network_requests: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_expired: int = 0
    failures: int = 0

    def counts(self) -> dict[str, int]:
        """Give them by the names of the status log, in `dnsstatus`'s words: failures are exceptions."""
        return {
            "dns_requests": self.requests,
            "net_requests": self.network_requests,
            "cache_hits": self.cache_hits,
            "cache_misses": self.cache_misses,
            "cache_exceptions": self.failures,
            "cache_expired": self.cache_expired,
        }


@dataclass(frozen=True, slots=True)
class _Entry:
    expires_at: float
    result: "Answer[Any] | DnsError"


class Resolver:
    """Asks the servers in turn. Equal questions at the same time are asked once."""

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        private: Iterable[tuple[str, Sequence[str]]] = (),
        timeout_s: float = 5.0,
        validating: bool | None = None,
        cache_size: int = 20_000,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """Take servers as `host:port` or `host`, default those of /etc/resolv.conf; `timeout_s` is for a question.

        `validating` says whether their word on DNSSEC counts; None = if all are on this machine.
        """
        self.statistics = Statistics()
        self.flushes = 0
        self._servers = NameServers(servers, private)
        self._descent: Descent | None = None
        """The way down from the root servers, where those are asked."""
        self.validating = self._servers.local if validating is None else validating
        self._timeout_s = timeout_s
        self.reverse_timeout_s = _REVERSE_S
        """Longest wait for the host name of an address; 0 = none is looked up."""
        self._cache_size = cache_size
        self._monotonic = monotonic
        self._cache: dict[_Key, _Entry] = {}
        self._asking: dict[_Key, asyncio.Future[Answer[Any] | DnsError]] = {}

    @property
    def servers(self) -> list[str]:
        """Name the servers that are asked, as `host:port`."""
        return ["the root servers"] if self._descent is not None else [str(one) for one in self._servers.general]

    def follow(self, section: DnsSection) -> None:
        """Go by another configuration from the next question on; what was found so far is forgotten."""
        private = [(row.domain, row.servers) for row in section.private]
        self._servers = NameServers(section.servers, private)
        self._descent = Descent(self._first, monotonic=self._monotonic) if section.root else None
        local = self._servers.local and not section.root
        self.validating = local if section.validating is None else section.validating
        self._timeout_s = section.timeout_s
        self.reverse_timeout_s = section.reverse_timeout_s
        self.flush()

    async def mx(self, name: str) -> Answer[Mx]:
        """Give the mail exchangers, lowest preference first; empty if the name has none."""
        return await self._find(name, "MX")

    async def addresses(self, name: str) -> Answer[str]:
        """Give all addresses as text, IPv6 first. Raises `DnsNotFound` if there is none at all."""
        if is_address(name):
            return Answer((name,), _TTL_LIMIT_S)
        both = [self._start(name, "AAAA"), self._start(name, "A")]
        results = [await asyncio.shield(each) for each in both]
        answers = [result for result in results if isinstance(result, Answer)]
        records = tuple(record for answer in answers for record in answer.records)
        if records:
            found = [answer for answer in answers if answer.records]
            secure = all(answer.secure for answer in found)
            return Answer(records, min(answer.ttl_s for answer in found), secure, found[0].canonical)
        for result in results:
            if isinstance(result, DnsTemporary):
                raise result
        for result in results:
            if isinstance(result, DnsNotFound):
                raise DnsNotFound(name, "A", result.reason)
        raise DnsNotFound(name, "A", "no address")

    async def srv(self, name: str) -> Answer[Srv]:
        """Give the service locations, lowest priority and highest weight first; empty if the name has none."""
        return await self._find(name, "SRV")

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Give the TLSA records of a name such as `_25._tcp.mx.example.test`; empty if there are none."""
        return await self._find(name, "TLSA")

    async def txt(self, name: str) -> Answer[str]:
        """Give the texts, each of one record joined; what is not ASCII is replaced."""
        return await self._find(name, "TXT")

    async def alias(self, name: str) -> Answer[str]:
        """Give the name that a name is an alias of; empty if it is none."""
        return await self._find(name, "CNAME")

    async def ptr(self, address: str) -> Answer[str]:
        """Give the names that an address claims; nothing is verified here."""
        return await self._find(dns.reversename.from_address(address).to_text(omit_final_dot=True), "PTR")

    async def probe(self, name: str) -> str:
        """Ask for a name, whatever is known of it already; give why nobody answers, '' if somebody does."""
        result, _ = await self._ask((name.rstrip(".").lower(), "A"))
        return f"{result.kind} {result.name}: {result.reason}" if isinstance(result, DnsTemporary) else ""

    def flush(self) -> int:
        """Forget all answers; gives how many there were. Who keeps what follows from them looks at `flushes`."""
        count = len(self._cache)
        self._cache.clear()
        if self._descent is not None:
            self._descent.flush()
        self.flushes += 1
        return count

    async def _find(self, name: str, kind: str) -> Answer[Any]:
        result = await asyncio.shield(self._start(name, kind))
        if isinstance(result, DnsError):
            raise result
        return result

    def _start(self, name: str, kind: str) -> "asyncio.Future[Answer[Any] | DnsError]":
        """Give the result of a question as a future that never fails: from the cache, or being asked."""
        key = (name.rstrip(".").lower(), kind)
        statistics = self.statistics
        statistics.requests += 1
        asking = self._asking.get(key)
        if asking is not None:
            return asking
        future: asyncio.Future[Answer[Any] | DnsError] = asyncio.get_running_loop().create_future()
        entry = self._cache.get(key)
        if entry is not None and entry.expires_at > self._monotonic():
            statistics.cache_hits += 1
            future.set_result(entry.result)
            return future
        if entry is not None:
            statistics.cache_expired += 1
        statistics.cache_misses += 1
        self._asking[key] = future
        spawn(self._answer(key, future), f"DNS {key[0]} {kind}")
        return future

    async def _answer(self, key: _Key, future: "asyncio.Future[Answer[Any] | DnsError]") -> None:
        result: Answer[Any] | DnsError = DnsTemporary(*key, "ServFail")
        ttl_s = 0.0
        try:
            result, ttl_s = await self._ask(key)
        finally:
            del self._asking[key]
            if not future.done():
                future.set_result(result)
        if isinstance(result, DnsTemporary):
            self.statistics.failures += 1
        self._keep(key, result, ttl_s)

    def _keep(self, key: _Key, result: "Answer[Any] | DnsError", ttl_s: float) -> None:
        self._cache.pop(key, None)
        if ttl_s > 0:
            while len(self._cache) >= self._cache_size:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = _Entry(self._monotonic() + ttl_s, result)

    async def _ask(self, key: _Key) -> "tuple[Answer[Any] | DnsError, float]":
        """Ask until somebody knows, following aliases that the servers leave to us."""
        name, kind = key
        secure = True
        shortest_s = _TTL_LIMIT_S
        try:
            for _ in range(_CHAIN_LIMIT):
                response = await self._ask_servers(name, key)
                chain = response.resolve_chaining()
                secure = secure and self.validating and bool(response.flags & dns.flags.AD)
                shortest_s = min(shortest_s, float(chain.minimum_ttl))
                if response.rcode() == dns.rcode.NXDOMAIN:
                    return DnsNotFound(*key, "NXDomain"), min(shortest_s, _NEGATIVE_TTL_LIMIT_S)
                if chain.answer is not None:
                    # Cut when they are in order: what is left out is what would be tried last.
                    found = _records(kind, list(chain.answer))[:_RECORD_LIMIT]
                    canonical = chain.canonical_name.to_text(omit_final_dot=True).lower()
                    alias = canonical if canonical != key[0] else ""
                    return Answer(found, shortest_s, secure, alias), shortest_s
                if not chain.cnames:
                    negative_s = min(shortest_s, _NEGATIVE_TTL_LIMIT_S)
                    return Answer((), negative_s, secure), negative_s
                name = chain.canonical_name.to_text(omit_final_dot=True)
        except DnsTemporary as problem:
            return problem, 0.0
        except (dns.exception.DNSException, UnicodeError) as problem:
            # A name that is none, or an answer that makes no sense: too long a chain, data beside NXDOMAIN.
            if isinstance(problem, dns.message.ChainTooLong | dns.message.AnswerForNXDOMAIN):
                return DnsTemporary(*key, type(problem).__name__), 0.0
            return DnsNotFound(*key, "not a domain name"), _NEGATIVE_TTL_LIMIT_S
        return DnsTemporary(*key, "too many aliases"), 0.0

    async def _ask_servers(self, name: str, key: _Key) -> dns.message.QueryMessage:
        """Give the first answer of any server that knows. Raises `DnsTemporary`, for a bad name `DNSException`."""
        asked = dns.name.from_text(name)
        try:
            if self._descent is not None and not self._servers.private(name):
                async with asyncio.timeout(self._timeout_s):
                    return await self._descent.find(asked, key[1])
            query = dns.message.make_query(asked, key[1], use_edns=0, payload=_UDP_OCTETS)
            query.flags |= dns.flags.AD
            return await self._first(query, self._servers.of(name))
        except TimeoutError:
            raise DnsTemporary(*key, "Timeout") from None
        except (Astray, _NoAnswer) as problem:
            raise DnsTemporary(*key, str(problem)) from None

    async def _first(self, query: dns.message.QueryMessage, servers: Sequence[NameServer]) -> dns.message.QueryMessage:
        """Ask servers in turn until one knows. Raises `_NoAnswer`."""
        reason = "no name server"
        rounds = [*servers] * (2 if len(servers) < 3 else 1)
        for host, port in rounds:
            self.statistics.network_requests += 1
            query.id = dns.entropy.random_16()
            try:
                response, _ = await dns.asyncquery.udp_with_fallback(
                    query,
                    host,
                    timeout=self._timeout_s / len(rounds),
                    port=port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                )
            except dns.exception.Timeout:
                reason = "Timeout"
            except (OSError, EOFError, dns.exception.DNSException) as problem:
                reason = type(problem).__name__
            else:
                reason = _unknown(response)
                if not reason and isinstance(response, dns.message.QueryMessage):
                    return response
        raise _NoAnswer(reason)


class _NoAnswer(Exception):
    """No server could tell; says why the last one could not."""


def resolver_of(section: DnsSection) -> Resolver:
    """Build the resolver that the configuration describes."""
    resolver = Resolver()
    resolver.follow(section)
    return resolver


def _unknown(response: dns.message.Message) -> str:
    """Say why a response is no answer; '' if it is one. One that is cut even over TCP does not say what is missing."""
    code = response.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return "ServFail" if code == dns.rcode.SERVFAIL else dns.rcode.to_text(code)
    return "Truncated" if response.flags & dns.flags.TC else ""


def _records(kind: str, found: list[Any]) -> tuple[Any, ...]:
    if kind == "MX":
        exchangers = [Mx(one.preference, _text(one.exchange)) for one in found]
        return tuple(sorted(exchangers, key=lambda one: (one.preference, one.host)))
    if kind == "SRV":
        services = [Srv(one.priority, one.weight, one.port, _text(one.target)) for one in found]
        return tuple(sorted(services, key=lambda one: (one.priority, -one.weight, one.host)))
    if kind in ("PTR", "CNAME"):
        return tuple(_text(one.target) for one in found)
    if kind == "TLSA":
        return tuple(Tlsa(one.usage, one.selector, one.mtype, bytes(one.cert)) for one in found)
    if kind == "TXT":
        return tuple(b"".join(one.strings).decode("ascii", "replace") for one in found)
    return tuple(one.address for one in found)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."
