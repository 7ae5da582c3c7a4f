"""MTA-STS (RFC 8461): the policy of a domain, from the cache, the disk or its policy host.

A service: plans ask `policy`, and a task in the background fetches anew what will be needed. A policy stays in force to
its end although DNS or the policy host fail (section 5.1); a domain whose first fetch fails has none for five minutes.
Logs what was fetched and what could not be.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from core.clock import Clock
from core.dns import DnsError, DnsNotFound, Resolver
from core.https import HttpsClient, HttpsError
from core.lifecycle import Scope
from core.maillog import Log, clean
from core.runtime import spawn
from core.sqlite import DatabaseError, DatabaseThread
from mail.delivery.tls import store
from mail.delivery.tls.store import StoredPolicy
from protocol.mtasts import MAX_OCTETS, Policy, parse_policy, policy_id

_AGAIN_S = 300.0
_LOOK_S = 60.0
_REFRESH_S = 86_400.0
_AT_ONCE = 8
"""Policies that are fetched anew at a time: a host that keeps silent takes as long as `mta_sts_timeout_s`."""
_MOST = store.MOST_POLICIES
_MOST_OCTETS = 16 << 20
"""Of all policies in memory as they were fetched: usual ones have 200, and anybody may have as many domains, each with
one of 64 KiB, as he can make us send to."""


@dataclass(slots=True)
class KnownPolicy:
    """A policy in force."""

    id: str
    policy: Policy
    fetched_at: float

    @property
    def octets(self) -> int:
        """What it takes, about."""
        return len(self.policy.text)

    @property
    def until(self) -> float:
        """When it ends unless it is fetched anew."""
        return self.fetched_at + self.policy.max_age_s


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a domain now."""

    policy: Policy | None = None
    problem: str = ""
    """Why a policy that is announced could not be had."""
    result: str = ""
    """The same as a result type of RFC 8460 4.3.2.2."""


NOTHING = Found()


class StsPolicies:
    """The policies of all domains."""

    name = "MTA-STS policies"

    def __init__(
        self, resolver: Resolver, https: HttpsClient, database: DatabaseThread, *, log: Log, now: Clock
    ) -> None:
        """Read the policies that were fetched earlier."""
        self._resolver = resolver
        self._https = https
        self._database = database
        self._log = log
        self._now = now
        self._known: dict[str, KnownPolicy] = {}
        self._failed: dict[str, tuple[float, Found]] = {}
        self._fetching: dict[str, asyncio.Future[None]] = {}
        for stored in database.submit(store.policies).result():
            try:
                policy = parse_policy(stored.document)
            except ValueError:
                continue
            self._known[stored.domain] = KnownPolicy(stored.id, policy, stored.fetched_at)
        self._octets = sum(known.octets for known in self._known.values())
        while self._octets > _MOST_OCTETS:
            self._octets -= self._known.pop(next(iter(self._known))).octets

    async def run(self, scope: Scope) -> None:
        """Fetch anew in time; a stop does not wait for hosts that keep silent."""
        scope.start(self._keep_fresh(scope), name="refresh")
        scope.ready()
        await scope.stopping.wait()

    async def _keep_fresh(self, scope: Scope) -> None:
        """Look again and again: each policy is fetched once a day, or at half its life."""
        while await scope.pause(_LOOK_S):
            now, due = self._now(), []
            for domain, known in list(self._known.items()):
                if known.until <= now:
                    await self._drop(domain)
                elif now - known.fetched_at > min(_REFRESH_S, known.policy.max_age_s / 2):
                    due.append((known.until, domain))
            await self._refresh(iter([domain for _, domain in sorted(due)]))

    async def _refresh(self, due: Iterator[str]) -> None:
        """Fetch policies anew, some at a time, in their order; a few hosts that keep silent do not hold up the rest."""

        async def some() -> None:
            for domain in due:
                await self.policy(domain, anew=True)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(some(), name="MTA-STS refresh")

    async def policy(self, domain: str, *, anew: bool = False) -> Found:
        """Give the policy in force for a recipient domain; waits for a fetch only where there is something new."""
        known = self._live(domain)
        try:
            announced = policy_id((await self._resolver.txt(f"_mta-sts.{domain}")).records)
        except DnsNotFound:
            announced = None
        except DnsError:
            return self._standing(domain)
        if announced is None:
            self._failed.pop(domain, None)  # what nobody announces cannot fail either
            return self._standing(domain)
        if known is None or known.id != announced or anew:
            await self._fetch(domain, announced)
        return self._standing(domain)

    def _live(self, domain: str) -> KnownPolicy | None:
        known = self._known.get(domain)
        return known if known is not None and known.until > self._now() else None

    def _standing(self, domain: str) -> Found:
        known = self._live(domain)
        if known is not None:
            return NOTHING if known.policy.mode == "none" else Found(known.policy)
        failed = self._failed.get(domain)
        return failed[1] if failed is not None else NOTHING

    async def _fetch(self, domain: str, announced: str) -> None:
        """Fetch, once for all who want it, and not again for a while if that fails."""
        failed = self._failed.get(domain)
        if failed is not None and failed[0] > self._now():
            return
        fetching = self._fetching.get(domain)
        if fetching is None:
            fetching = self._fetching[domain] = spawn(self._fetch_now(domain, announced), f"MTA-STS policy of {domain}")
            fetching.add_done_callback(lambda _: self._fetching.pop(domain, None))
        await asyncio.shield(fetching)

    async def _fetch_now(self, domain: str, announced: str) -> None:
        self._failed.pop(domain, None)
        try:
            document = await self._https.get(
                f"mta-sts.{domain}", "/.well-known/mta-sts.txt", media_type="text/plain", most=MAX_OCTETS
            )
        except HttpsError as problem:
            result = "sts-webpki-invalid" if problem.certificate else "sts-policy-fetch-error"
            self._fail(domain, str(problem), result)
            return
        try:
            policy = parse_policy(document)
        except ValueError as problem:
            self._fail(domain, str(problem), "sts-policy-invalid")
            return
        await self._keep(domain, KnownPolicy(announced, policy, self._now()), document)

    def _fail(self, domain: str, problem: str, result: str) -> None:
        while len(self._failed) >= _MOST:
            del self._failed[next(iter(self._failed))]
        self._failed[domain] = (self._now() + _AGAIN_S, Found(None, problem, result))
        kept = "; the earlier one stays in force" if self._live(domain) else ""
        self._log.info(f"MTA-STS: no policy from mta-sts.{clean(domain)}: {clean(problem)}{kept}")

    async def _keep(self, domain: str, known: KnownPolicy, document: bytes) -> None:
        policy = known.policy
        self._log.info(
            f"MTA-STS: policy of {clean(domain)} id {known.id} mode {policy.mode} max_age {policy.max_age_s}"
            f" mx {', '.join(policy.mx[:10])}"
        )
        self._forget(domain)
        self._known[domain] = known
        self._octets += known.octets
        while len(self._known) > _MOST or self._octets > _MOST_OCTETS:
            await self._drop(next(iter(self._known)))
        await self._write(store.put_policy, StoredPolicy(domain, known.id, document, known.fetched_at))

    def _forget(self, domain: str) -> None:
        known = self._known.pop(domain, None)
        self._octets -= known.octets if known is not None else 0

    async def _drop(self, domain: str) -> None:
        self._forget(domain)
        await self._write(store.drop_policy, domain)

    async def _write(self, work: "object", argument: object) -> None:
        try:
            await self._database.change(work, argument)  # type: ignore[arg-type]
        except DatabaseError as problem:
            self._log.warning(f"MTA-STS: a policy could not be written down: {problem}")
