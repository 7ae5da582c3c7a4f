"""How mail to a domain is protected: DANE before MTA-STS before the configured level, decided host by host.

`PolicySecurity` is what the SMTP courier asks (`mail/delivery/security.py`). The table of decisions is in
docs/delivery-tls.md. A plan counts what comes of each attempt for reports. Logs nothing itself: what a connection's log
line says of its protection, `PolicyPlan.concluded` gives.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.chain import ChainRefused, check_authorities, check_dane, check_name
from core.clock import Clock
from core.smtp.client import ClientConnection
from core.smtp.client_settings import Judge, TlsSettings
from core.smtp.target import Target
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable, Rule, Wish, level_settings
from mail.delivery.tls.context import Contexts
from mail.delivery.tls.dane import Dane, HostDane
from mail.delivery.tls.store import Detail
from mail.delivery.tls.sts import NOTHING, Found, StsPolicies
from mail.delivery.tls.tally import Tally
from protocol.errors import MailError
from protocol.smtp.client_settings import TlsUse
from protocol.smtp.failure import Stage, TlsError


@dataclass(frozen=True)
class Means:
    """What plans need besides their policies."""

    tally: Tally
    now: Clock
    authorities: str = ""
    """PEM file, '' = the system's."""
    contexts: Contexts = field(default_factory=Contexts)
    """What connections speak, with the same authorities; its parts change with the configuration."""


class PolicySecurity:
    """Makes plans from DANE, MTA-STS and the configured level."""

    def __init__(self, rule: Callable[[str], Rule], dane: Dane, sts: StsPolicies, means: Means) -> None:
        """`rule` says what is configured for a domain."""
        self._rule = rule
        self._dane = dane
        self._sts = sts
        self._means = means

    async def plan(self, domain: str, resolution: Resolution, wish: Wish = "") -> "PolicyPlan":
        """Find out what protects mail for a recipient domain; the lookups are mostly cached.

        Where a route or an address literal decided on the hosts, neither DANE nor MTA-STS speaks about them.
        """
        rule = self._rule(domain)
        if wish == "no":  # what the recipients' side publishes does not count, what the operator here demands does
            rule = Rule(rule.level, dane=False, mta_sts=False)
        by_mx = not resolution.routed and not domain.startswith("[") and rule.level != "off"
        hosts = await self._dane.hosts(domain, resolution) if rule.dane and by_mx else {}
        sts = await self._sts.policy(domain) if rule.mta_sts and by_mx else NOTHING
        return PolicyPlan(domain, rule, self._means, hosts=hosts, sts=sts, wish=wish)


class PolicyPlan:
    """What protects the connections to one domain at one moment."""

    def __init__(
        self, domain: str, rule: Rule, means: Means, *, hosts: Mapping[str, HostDane], sts: Found, wish: Wish = ""
    ) -> None:
        self.domain = domain
        self.rule = rule
        self.hosts = hosts
        self.sts = sts
        self._means = means
        self._wish = wish
        if sts.problem:
            means.tally.failed(domain, "sts", "{}", Detail(sts.result, "", "", sts.problem[:200]))

    def settings(self, target: Target) -> TlsSettings:
        """Say how to connect to an address. Raises `HostUnusable` where that must not be done."""
        found = self._protection(target)
        if found.context is not None or found.use is TlsUse.NEVER:
            return found
        return replace(found, context=self._means.contexts.any)

    def _protection(self, target: Target) -> TlsSettings:
        dane = self.hosts.get(target.host)
        if dane is not None and (dane.usable or dane.problem or self._wish != "yes"):
            return self._by_dane(target.host, dane)
        policy = self.sts.policy
        if policy is not None and policy.mode == "enforce":
            if not policy.allows(target.host):
                raise HostUnusable(f"MTA-STS: the policy of {self.domain} does not name {target.host}")
            return self._verified([target.host])
        if self._wish == "yes":
            return self._verified([target.host])
        if self.rule.level == "required-verify":
            return self._verified([target.host, self.domain])
        return level_settings(self.rule.level)

    def _by_dane(self, host: str, dane: HostDane) -> TlsSettings:
        if dane.problem:
            text = f"DANE: the TLSA records of {host} cannot be looked up: {dane.problem}"
            raise HostUnusable(text, kind="dnssec-invalid")
        if not dane.usable:
            if self.rule.level == "required-verify":
                return self._verified([host, self.domain])
            return TlsSettings(TlsUse.REQUIRED, server_name=dane.base, identity="required")
        records, names, now = dane.usable, dane.names, self._means.now

        def judge(chain: Sequence[bytes]) -> None:
            check_dane(records, chain, names, now())

        marks = repr((sorted(map(repr, records)), sorted(names))).encode()
        identity = f"dane:{hashlib.sha256(marks).hexdigest()[:32]}"
        return TlsSettings(TlsUse.REQUIRED, server_name=dane.base, identity=identity, judge=_refusing(judge, "DANE: "))

    def _verified(self, names: Sequence[str]) -> TlsSettings:
        """Give TLS with a path to an authority, for one of the names."""

        def judge(chain: Sequence[bytes]) -> None:
            check_name(chain, names)

        identity = f"verify:{':'.join(names)}"
        return TlsSettings(TlsUse.REQUIRED, self._means.contexts.verifying, identity=identity, judge=_refusing(judge))

    def concluded(self, target: Target, connection: ClientConnection | None, failure: MailError | None) -> str:
        """Count what came of an attempt, and say how the connection is protected.

        A connection without regard to the policy says nothing about it: it is not counted.
        """
        if self._wish == "no":
            return self._excepted(target, connection)
        if connection is not None:
            return self._connected(target, connection)
        if isinstance(failure, TlsError | HostUnusable):
            self._failed(target, failure.kind, failure.text)
        return ""

    def _excepted(self, target: Target, connection: ClientConnection | None) -> str:
        if connection is None:
            return ""
        self._means.tally.included(self.domain)
        return self.protection(target, connection) if connection.tls is not None else ""

    def _connected(self, target: Target, connection: ClientConnection) -> str:
        kind, policy = self.policy_of(target.host)
        if connection.tls is None:
            if self.rule.level != "off":
                error = connection.tls_error
                self._failed(target, error.kind if error else "starttls-not-supported", error.text if error else "")
            return ""
        if kind == "sts" and self.sts.policy is not None and self.sts.policy.mode == "testing":
            return self._tested(target, connection)
        self._means.tally.good(self.domain, kind, policy)
        return self.protection(target, connection)

    def protection(self, target: Target, connection: ClientConnection) -> str:
        """Say in words what the peer was verified by, '' if it was not."""
        dane = self.hosts.get(target.host)
        if dane is not None and dane.usable:
            try:
                how = check_dane(dane.usable, connection.chain, dane.names, self._means.now())
            except ChainRefused as problem:
                return f"TLS not verified: DANE: {problem}"
            return f"TLS verified by {how}"
        if dane is not None:
            return "TLS not verified: no TLSA record is usable"
        if self.sts.policy is not None and self.sts.policy.mode == "enforce":
            return "TLS verified by MTA-STS"
        if self.rule.level == "required-verify" or self._wish == "yes":
            return "TLS verified by authority"
        if self.rule.level == "preferred-verify":
            try:
                check_authorities(
                    connection.chain, [target.host, self.domain], self._means.now(), self._means.authorities
                )
            except ChainRefused as problem:
                return f"TLS not verified: {problem}"
            return "TLS verified by authority"
        return ""

    def _tested(self, target: Target, connection: ClientConnection) -> str:
        """Judge by a policy that is only being tested (RFC 8461 5): the mail goes out whatever comes of it."""
        policy = self.sts.policy
        assert policy is not None
        try:
            if not policy.allows(target.host):
                raise ChainRefused(f"the policy does not name {target.host}", "validation-failure")
            check_authorities(connection.chain, [target.host], self._means.now(), self._means.authorities)
        except ChainRefused as problem:
            self._failed(target, problem.kind, str(problem))
            return f"TLS not verified: MTA-STS testing: {problem}"
        self._means.tally.good(self.domain, "sts", self.policy_of(target.host)[1])
        return "TLS verified by MTA-STS (testing)"

    def _failed(self, target: Target, result: str, reason: str) -> None:
        kind, policy = self.policy_of(target.host)
        detail = Detail(result, target.host, target.address, reason[:200])
        self._means.tally.failed(self.domain, kind, policy, detail)

    def policy_of(self, host: str) -> tuple[str, str]:
        """Give the type of the policy that decides on a host, and the policy as JSON (RFC 8460 4.2)."""
        dane = self.hosts.get(host)
        if dane is not None:
            records = [f"{one.usage} {one.selector} {one.matching} {one.data.hex()[:128]}" for one in dane.found[:20]]
            return "tlsa", json.dumps({"policy-string": records, "mx-host": [host]})
        if self.sts.policy is not None:
            lines = [line for line in self.sts.policy.text.splitlines() if line.strip()][:50]
            return "sts", json.dumps({"policy-string": lines, "mx-host": list(self.sts.policy.mx[:50])})
        return "no-policy-found", "{}"


def _refusing(check: Judge, prefix: str = "") -> Judge:
    """Make a judge of a check: what is refused is a TLS error of the connection."""

    def judge(chain: Sequence[bytes]) -> None:
        try:
            check(chain)
        except ChainRefused as problem:
            raise TlsError(f"{prefix}{problem}", Stage.TLS, kind=problem.kind) from problem

    return judge
