"""`tlsverify`: what delivery to a domain would do, done step by step and told, without sending anything.

The control verb of delivery-queue; it runs the code of delivery itself: the same resolver, the same plan, the same
connection. Nothing is counted for reports but the failed fetch of a policy. Raises `GatepostError` for a domain that
has no hosts. Logs nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from core.chain import describe, names_of
from core.dns import Tlsa
from core.errors import EX_DATAERR, GatepostError
from core.maillog import clean
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from mail.delivery.resolve import DestinationResolver, Resolution
from mail.delivery.security import HostUnusable
from mail.delivery.tls.plan import PolicyPlan, PolicySecurity
from protocol.errors import MailError
from protocol.smtp.client_settings import TlsUse
from protocol.smtp.failure import ClientFailure

_MOST = 10
"""Addresses that are called."""


class Verifier:
    """Verifies destinations."""

    def __init__(
        self, resolver: DestinationResolver, security: PolicySecurity, settings: Callable[[], ConnectionSettings]
    ) -> None:
        self._resolver = resolver
        self._security = security
        self._settings = settings

    async def verb(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `tlsverify {domain, host?}`."""
        domain = str(args.get("domain") or "").strip().rstrip(".").lower()
        host = str(args.get("host") or "").strip().rstrip(".").lower()
        try:
            resolution = await self._resolver.resolve(domain)
        except MailError as problem:
            raise GatepostError(
                f"{clean(domain)}: {clean(problem.reason or str(problem.reply))}", EX_DATAERR
            ) from problem
        plan = await self._security.plan(domain, resolution)
        targets = [one for one in resolution.targets() if host in ("", domain, one.host, f"{one.host}:{one.port}")]
        if not targets:
            known = ", ".join(dict.fromkeys(one.host for one in resolution.targets())) or "none"
            raise GatepostError(f"{clean(host)} is no host of {clean(domain)}; its hosts: {known}", EX_DATAERR)
        hosts = [await self._host(plan, target) for target in targets[:_MOST]]
        return {
            "domain": domain,
            "level": plan.rule.level,
            "mx": [{"preference": one.preference, "host": one.host} for one in resolution.mx],
            "route": resolution.routed,
            "mta_sts": _policy(plan),
            "hosts": hosts,
            "would_deliver": any(host["would_deliver"] for host in hosts),
            "lines": [line for host in hosts for line in host.pop("lines")] + _last(resolution, hosts),
        }

    async def _host(self, plan: PolicyPlan, target: Target) -> dict[str, Any]:
        found = _facts(plan, target)
        said = found["lines"]
        said.append(f"Connecting to {target.address} on port {target.port}.")
        try:
            tls = plan.settings(target)
        except HostUnusable as problem:
            return _refused(found, target, problem.text)
        found["requires"] = "TLS" if tls.use is TlsUse.REQUIRED else "nothing"
        try:
            connection = await connect(target, self._settings(), tls)
        except ClientFailure as problem:
            return _refused(found, target, problem.text)
        try:
            said.append(f"Connected to {target.address} from interface {connection.local_address}.")
            self._connected(plan, found, connection)
        finally:
            connection.close()
        return found

    @staticmethod
    def _connected(plan: PolicyPlan, found: dict[str, Any], connection: ClientConnection) -> None:
        target, said = connection.target, found["lines"]
        found["would_deliver"] = True
        said.append("Checking TLS connection.")
        if connection.tls is None:
            reason = clean(connection.tls_error.text) if connection.tls_error else "the host does not offer STARTTLS"
            found["reason"] = f"no TLS: {reason}"
            said.append(f"TLS connection to {target.address} failed: {reason}. Mail would go in the clear.")
            return
        tls = connection.tls
        found |= {
            "protocol": tls.version,
            "cipher": tls.cipher,
            "chain": [describe(one) for one in connection.chain],
            "names": list(names_of(connection.chain[0])) if connection.chain else [],
            "verdict": plan.protection(target, connection) or "TLS not verified: nothing asks for it",
        }
        said.append(f"TLS connection established: protocol {tls.version}, cipher {tls.cipher}.")
        said.append("Verifying peer certificate.")
        said += [f"  {clean(line)}" for line in found["chain"]]
        for name in found["names"][:5]:
            said.append(f"Verifying certificate common name {clean(name)}.")
        verified = found["verdict"].startswith("TLS verified")
        if verified:
            said.append(f"TLS certificate match {clean(found['names'][0] if found['names'] else target.host)}")
        said.append("TLS certificate verified." if verified else "TLS certificate not verified.")
        said.append(f"{clean(found['verdict'])}.")
        said.append(f"TLS connection to {target.address} succeeded.")


def _facts(plan: PolicyPlan, target: Target) -> dict[str, Any]:
    dane = plan.hosts.get(target.host)
    said = [f"Host {target.host}, preference {target.preference}:"]
    if dane is not None and not dane.problem:
        said += [f"  TLSA {_shape(one)} ({'usable' if one in dane.usable else 'unusable'})" for one in dane.found]
    policy = plan.sts.policy
    if dane is None and policy is not None:
        fits = "names this host" if policy.allows(target.host) else "does not name this host"
        said.append(f"  MTA-STS mode {policy.mode}, policy {fits}")
    elif dane is None:
        said.append(f"  no TLSA record, no MTA-STS policy; level {plan.rule.level}")
    return {
        "host": target.host,
        "address": target.address,
        "port": target.port,
        "preference": target.preference,
        "policy": plan.policy_of(target.host)[0],
        "tlsa": [{"record": _shape(one), "usable": one in dane.usable} for one in dane.found] if dane else [],
        "requires": "TLS",
        "protocol": None,
        "cipher": None,
        "chain": [],
        "names": [],
        "verdict": None,
        "would_deliver": False,
        "reason": None,
        "lines": said,
    }


def _refused(found: dict[str, Any], target: Target, text: str) -> dict[str, Any]:
    found["reason"] = clean(text)
    found["lines"].append(f"TLS connection to {target.address} failed: {clean(text)}.")
    return found


def _policy(plan: PolicyPlan) -> dict[str, Any] | None:
    policy = plan.sts.policy
    if policy is None:
        return {"mode": None, "problem": clean(plan.sts.problem)} if plan.sts.problem else None
    return {"mode": policy.mode, "mx": list(policy.mx), "max_age_s": policy.max_age_s}


def _shape(one: Tlsa) -> str:
    return f"{one.usage} {one.selector} {one.matching} {one.data.hex()[:64]}"


def _last(resolution: Resolution, hosts: Sequence[dict[str, Any]]) -> list[str]:
    good = [host["host"] for host in hosts if host["would_deliver"] and host["protocol"]]
    lines = [f"TLS successfully connected to {good[0]}."] if good else []
    verdict = "would be delivered" if any(host["would_deliver"] for host in hosts) else "would not be delivered"
    how = " (hosts of a route)" if resolution.routed else ""
    return [*lines, f"Mail {verdict}{how}.", "TLS verification completed."]
