"""`mail.delivery.tls.plan`: each row of the table of decisions in docs/delivery-tls.md, and what is counted."""

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import pytest

from core.chain import ChainRefused
from core.dns import Answer, DnsNotFound, DnsTemporary, Mx, Tlsa
from core.smtp.client import ClientConnection
from core.smtp.target import Target
from mail.delivery.choice import Level
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable, Rule, Wish
from mail.delivery.tls.context import Contexts
from mail.delivery.tls.dane import Dane
from mail.delivery.tls.plan import Means, PolicyPlan, PolicySecurity
from mail.delivery.tls.store import Detail
from mail.delivery.tls.sts import NOTHING, Found
from protocol.mtasts import Mode, Policy
from protocol.smtp.client_settings import TlsUse
from protocol.smtp.conversation import TlsInfo
from protocol.smtp.failure import Stage, TlsError
from tests.support.authority import Authority, ders

CA = Authority("root")
KNOWN = ders(CA.host("mx.x.test")[1])
DOMAIN = ders(CA.host("x.test")[1])
OTHER = ders(CA.host("mx.other.test")[1])
TARGET = Target("mx.x.test", "127.0.0.1", 25, 10)
MX = Mx(10, "mx.x.test")
EE = Tlsa(3, 0, 0, KNOWN[0])
UNUSABLE = Tlsa(1, 1, 1, b"x" * 32)
NONE, BROKEN = (), "broken"


class Names:
    """A resolver that answers from what it is given."""

    def __init__(self, tlsa: tuple[Tlsa, ...] | str, *, mx: str = "same", secure: bool = True) -> None:
        self.validating = True
        self.port = 25
        self._tlsa = tlsa
        self._mx = mx
        self._secure = secure

    async def mx(self, name: str) -> Answer[Mx]:
        if self._mx == BROKEN:
            raise DnsTemporary(name, "MX", "SERVFAIL")
        return Answer((Mx(10, "mx.else.test") if self._mx == "changed" else MX,), 300, self._secure)

    async def addresses(self, name: str) -> Answer[str]:
        return Answer(("127.0.0.1",), 300, self._secure)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        assert name == f"_{self.port}._tcp.mx.x.test"
        if isinstance(self._tlsa, str):
            raise DnsTemporary(name, "TLSA", "SERVFAIL")
        if not self._tlsa:
            raise DnsNotFound(name, "TLSA", "NXDOMAIN")
        return Answer(self._tlsa, 300, self._secure)


@dataclass
class Counted:
    """A tally that notes (kind, result)."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    again: list[str] = field(default_factory=list)

    def good(self, domain: str, kind: str, policy: str, number: int = 1) -> None:
        self.seen.append((kind, "good"))

    def failed(self, domain: str, kind: str, policy: str, detail: Detail) -> None:
        self.seen.append((kind, detail.result))

    def included(self, domain: str) -> None:
        self.again.append(domain)


class Policies:
    """MTA-STS of one domain; None must not be asked."""

    def __init__(self, found: Found | None) -> None:
        self._found = found

    async def policy(self, domain: str) -> Found:
        assert self._found is not None, "nobody was to ask for a policy"
        assert domain == "x.test"
        return self._found


class Shown(NamedTuple):
    """An open connection, as far as a plan looks."""

    chain: tuple[bytes, ...]
    tls: TlsInfo | None = TlsInfo("TLSv1.3", "x", None)
    tls_error: TlsError | None = None


def sts(mode: Mode, mx: str = "mx.x.test") -> Found:
    return Found(Policy(mode, 1000, (mx,), "version: STSv1"))


async def make(
    level: Level = "preferred",
    tlsa: tuple[Tlsa, ...] | str = NONE,
    policy: Found | None = NOTHING,
    wish: Wish = "",
    *,
    routed: bool = False,
    domain: str = "x.test",
    tally: Counted | None = None,
    folder: Any = None,
    **names: Any,
) -> PolicyPlan:
    authorities = ""
    if folder is not None:
        (folder / "ca.pem").write_bytes(CA.pem)
        authorities = str(folder / "ca.pem")
    means = Means(cast(Any, tally or Counted()), time.time, authorities, Contexts(authorities))
    dane = Dane(cast(Any, Names(tlsa, **names)))
    security = PolicySecurity(lambda _: Rule(level), dane, cast(Any, Policies(policy)), means)
    mx = () if routed else (MX,)
    return await security.plan(domain, Resolution((((TARGET,),),), 300, routed=routed, mx=mx), wish)


def shown(chain: list[bytes] = KNOWN, **how: Any) -> ClientConnection:
    return cast(ClientConnection, Shown(tuple(chain), **how))


VERIFIED = ("REQUIRED", "verify:mx.x.test")
EITHER = ("REQUIRED", "verify:mx.x.test:x.test")
ENCRYPTED = ("REQUIRED", "required")
CLEAR_OK = ("OFFERED", "preferred")
DANE = ("REQUIRED", "dane:")
NOT_USED = ("not used", "")

ENFORCE, TESTING = sts("enforce"), sts("testing")
ELSEWHERE = sts("enforce", "mx.elsewhere.test")

ROWS: list[tuple[str, Level, Any, Found | None, Wish, tuple[str, str]]] = [
    ("level off asks nobody", "off", BROKEN, None, "", ("NEVER", "")),
    ("TLSA not to be looked up", "preferred", BROKEN, NOTHING, "", NOT_USED),
    ("TLSA not to be looked up, MTA-STS does not help", "preferred", BROKEN, ENFORCE, "", NOT_USED),
    ("TLSA not to be looked up, whatever the level", "required-verify", BROKEN, NOTHING, "", NOT_USED),
    ("usable TLSA", "preferred", (EE,), NOTHING, "", DANE),
    ("usable TLSA beat MTA-STS that does not name the host", "preferred", (EE,), ELSEWHERE, "", DANE),
    ("usable TLSA beat the level", "required-verify", (EE,), NOTHING, "", DANE),
    ("one usable TLSA among others", "preferred", (UNUSABLE, EE), NOTHING, "", DANE),
    ("no usable TLSA", "preferred", (UNUSABLE,), NOTHING, "", ENCRYPTED),
    ("no usable TLSA beats MTA-STS", "preferred", (UNUSABLE,), ELSEWHERE, "", ENCRYPTED),
    ("no usable TLSA, level verifies", "required-verify", (UNUSABLE,), NOTHING, "", EITHER),
    ("MTA-STS does not name the host", "preferred", NONE, ELSEWHERE, "", NOT_USED),
    ("MTA-STS names the host", "preferred", NONE, ENFORCE, "", VERIFIED),
    ("MTA-STS beats the level", "required-verify", NONE, ENFORCE, "", VERIFIED),
    ("MTA-STS in testing leaves it to the level", "preferred", NONE, TESTING, "", CLEAR_OK),
    ("MTA-STS in testing, level required", "required", NONE, TESTING, "", ENCRYPTED),
    ("required-verify", "required-verify", NONE, NOTHING, "", EITHER),
    ("required", "required", NONE, NOTHING, "", ENCRYPTED),
    ("preferred-verify", "preferred-verify", NONE, NOTHING, "", ("OFFERED", "preferred-verify")),
    ("preferred", "preferred", NONE, NOTHING, "", CLEAR_OK),
    ("REQUIRETLS wants a verified host", "preferred", NONE, NOTHING, "yes", VERIFIED),
    ("REQUIRETLS with DANE", "preferred", (EE,), NOTHING, "yes", DANE),
    ("REQUIRETLS with unusable TLSA", "preferred", (UNUSABLE,), NOTHING, "yes", VERIFIED),
    ("REQUIRETLS with MTA-STS elsewhere", "preferred", NONE, ELSEWHERE, "yes", NOT_USED),
    ("TLS-Required: No sets DANE and MTA-STS aside", "preferred", BROKEN, None, "no", CLEAR_OK),
    ("TLS-Required: No leaves what the operator demands", "required", (EE,), None, "no", ENCRYPTED),
    ("TLS-Required: No leaves the names that are checked", "required-verify", NONE, None, "no", EITHER),
    ("TLS-Required: No does not bring TLS where it is off", "off", NONE, None, "no", ("NEVER", "")),
]


@pytest.mark.parametrize(
    ("level", "tlsa", "policy", "wish", "expected"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
async def test_the_first_row_that_fits_decides(
    level: Level, tlsa: Any, policy: Found | None, wish: Wish, expected: tuple[str, str]
) -> None:
    plan = await make(level, tlsa, policy, wish)
    if expected == NOT_USED:
        with pytest.raises(HostUnusable) as caught:
            plan.settings(TARGET)
        assert (caught.value.reply.code, caught.value.reply.enhanced) == (451, "4.7.5")
        assert caught.value.kind == ("dnssec-invalid" if tlsa == BROKEN else "validation-failure")
        return
    settings = plan.settings(TARGET)
    assert settings.use is TlsUse[expected[0]]
    assert settings.identity.startswith(expected[1])
    assert bool(settings.identity) == bool(expected[1])
    assert (settings.context is plan._means.contexts.verifying) == (expected in (VERIFIED, EITHER))
    assert (settings.judge is not None) == (expected in (VERIFIED, EITHER, DANE))


@pytest.mark.parametrize(("mx", "says"), [(BROKEN, "cannot be looked up again"), ("changed", "has just changed")])
async def test_an_mx_that_cannot_be_confirmed_makes_no_plan(mx: str, says: str) -> None:
    with pytest.raises(HostUnusable, match=says):
        await make(tlsa=(EE,), mx=mx)
    assert (await make(tlsa=(EE,), mx=mx, policy=None, wish="no")).settings(TARGET).use is TlsUse.OFFERED


@pytest.mark.parametrize("how", [{"routed": True}, {"domain": "[127.0.0.1]"}])
async def test_where_a_route_or_a_literal_names_the_hosts_only_the_level_counts(how: dict[str, Any]) -> None:
    assert (await make(tlsa=BROKEN, policy=None, **how)).settings(TARGET).use is TlsUse.OFFERED


async def test_tlsa_records_without_dnssec_bind_nobody() -> None:
    assert (await make(tlsa=(EE,), secure=False)).settings(TARGET).use is TlsUse.OFFERED


@pytest.mark.parametrize(
    ("case", "chain", "says"),
    [
        ({"tlsa": (EE,)}, KNOWN, ""),
        ({"tlsa": (EE,)}, OTHER, "DANE: the certificate does not match any TLSA record"),
        ({"policy": ENFORCE}, KNOWN, ""),
        ({"policy": ENFORCE}, DOMAIN, "for x.test"),
        ({"level": "required-verify"}, KNOWN, ""),
        ({"level": "required-verify"}, DOMAIN, ""),
        ({"level": "required-verify"}, OTHER, "for mx.other.test"),
        ({"wish": "yes"}, DOMAIN, "for x.test"),
        ({"tlsa": (EE,)}, [], "showed no certificate"),
    ],
)
async def test_what_a_certificate_must_be(case: dict[str, Any], chain: list[bytes], says: str) -> None:
    judge = (await make(**case)).settings(TARGET).judge
    assert judge is not None
    if not says:
        judge(chain)
        return
    with pytest.raises(TlsError, match=says) as caught:
        judge(chain)
    assert caught.value.kind in ("certificate-host-mismatch", "validation-failure")
    assert isinstance(caught.value.__cause__, ChainRefused)


async def test_connections_are_told_apart_by_the_records_and_names_they_were_judged_by() -> None:
    first = (await make(tlsa=(EE,))).settings(TARGET).identity
    assert (await make(tlsa=(EE,))).settings(TARGET).identity == first
    assert (await make(tlsa=(EE, Tlsa(3, 1, 1, b"y" * 32)))).settings(TARGET).identity != first


@pytest.mark.parametrize(
    ("case", "connection", "says", "counted"),
    [
        ({"tlsa": (EE,)}, shown(), "TLS verified by DANE-EE 3 0 0", ("tlsa", "good")),
        ({"tlsa": (UNUSABLE,)}, shown(), "TLS not verified: no TLSA record is usable", ("tlsa", "good")),
        ({"policy": ENFORCE}, shown(), "TLS verified by MTA-STS", ("sts", "good")),
        ({"policy": TESTING}, shown(), "TLS verified by MTA-STS (testing)", ("sts", "good")),
        (
            {"policy": TESTING},
            shown(OTHER),
            "TLS not verified: MTA-STS testing: the certificate is for mx.other.test, not for mx.x.test",
            ("sts", "certificate-host-mismatch"),
        ),
        (
            {"policy": sts("testing", "mx.elsewhere.test")},
            shown(),
            "TLS not verified: MTA-STS testing: the policy does not name mx.x.test",
            ("sts", "validation-failure"),
        ),
        ({"policy": TESTING}, shown([], tls=None), "", ("sts", "starttls-not-supported")),
        ({"level": "required-verify"}, shown(), "TLS verified by authority", ("no-policy-found", "good")),
        ({"level": "preferred-verify"}, shown(), "TLS verified by authority", ("no-policy-found", "good")),
        (
            {"level": "preferred-verify"},
            shown(OTHER),
            "TLS not verified: the certificate is for mx.other.test, not for mx.x.test or x.test",
            ("no-policy-found", "good"),
        ),
        ({}, shown(), "", ("no-policy-found", "good")),
        ({}, shown([], tls=None), "", ("no-policy-found", "starttls-not-supported")),
        (
            {},
            shown([], tls=None, tls_error=TlsError("handshake failed", Stage.TLS)),
            "",
            ("no-policy-found", "validation-failure"),
        ),
        ({"level": "off", "policy": None}, shown([], tls=None), "", None),
        ({"wish": "no", "policy": None}, shown([], tls=None), "", None),
        ({"wish": "no", "policy": None}, shown(), "", None),
    ],
)
async def test_what_is_said_and_counted_of_a_connection(
    case: dict[str, Any], connection: ClientConnection, says: str, counted: tuple[str, str] | None, tmp_path: Any
) -> None:
    tally = Counted()
    plan = await make(**case, tally=tally, folder=tmp_path)
    assert plan.concluded(TARGET, connection, None) == says
    assert tally.seen == ([counted] if counted else [])
    assert tally.again == (["x.test"] if case.get("wish") == "no" else [])


@pytest.mark.parametrize(
    ("case", "failure", "counted"),
    [
        ({"tlsa": BROKEN}, None, [("tlsa", "dnssec-invalid")]),
        ({"policy": ELSEWHERE}, None, [("sts", "validation-failure")]),
        ({"policy": ENFORCE}, TlsError("x", Stage.TLS, kind="certificate-expired"), [("sts", "certificate-expired")]),
        ({"tlsa": (EE,)}, TlsError("x", Stage.STARTTLS), [("tlsa", "starttls-not-supported")]),
        ({"policy": None, "wish": "no"}, TlsError("x", Stage.TLS), []),
    ],
)
async def test_what_is_counted_of_a_failure(case: dict[str, Any], failure: Any, counted: list[Any]) -> None:
    tally = Counted()
    plan = await make(**case, tally=tally)
    if failure is None:
        with pytest.raises(HostUnusable) as caught:
            plan.settings(TARGET)
        failure = caught.value
    assert plan.concluded(TARGET, None, failure) == ""
    assert tally.seen == counted


async def test_a_policy_that_is_announced_and_cannot_be_had_is_counted_and_binds_nobody() -> None:
    tally = Counted()
    plan = await make(policy=Found(None, "timeout", "sts-policy-fetch-error"), tally=tally)
    assert plan.settings(TARGET).use is TlsUse.OFFERED
    assert tally.seen == [("sts", "sts-policy-fetch-error")]
