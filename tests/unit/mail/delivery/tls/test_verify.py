"""`mail.delivery.tls.verify`: what `tlsverify` says of a destination, step by step, with real handshakes."""

import time
from pathlib import Path
from typing import Any, cast

import pytest

from core.dns import Mx, Tlsa
from core.errors import GatepostError
from core.smtp.client_settings import ConnectionSettings, Timeouts
from core.smtp.target import Target
from mail.delivery.choice import Level
from mail.delivery.resolve import NoDestination, Resolution
from mail.delivery.security import Rule
from mail.delivery.tls.context import Contexts
from mail.delivery.tls.dane import Dane
from mail.delivery.tls.plan import Means, PolicySecurity
from mail.delivery.tls.sts import NOTHING, Found
from mail.delivery.tls.verify import Verifier
from protocol.mtasts import Policy
from protocol.smtp.client_settings import ClientSettings
from tests.support.authority import Authority, ders, server_context
from tests.support.scripted_server import ScriptedServer
from tests.unit.mail.delivery.tls.test_plan import Counted, Names, Policies
from tests.unit.mail.delivery.tls.test_require import host

CA = Authority("root")
KEY, CHAIN = CA.host("mx.x.test")
CONTEXT = server_context(KEY, CHAIN)
EE = Tlsa(3, 0, 0, ders(CHAIN)[0])


class World:
    """One domain with one exchanger that a test serves."""

    def __init__(self, folder: Path) -> None:
        (folder / "ca.pem").write_bytes(CA.pem)
        self._authorities = str(folder / "ca.pem")
        self.tally = Counted()
        self.resolution = Resolution((), 300)

    async def resolve(self, domain: str) -> Resolution:
        if domain != "x.test":
            raise NoDestination(f"{domain} cannot be found")
        return self.resolution

    async def verify(
        self, server: ScriptedServer, *, level: Level = "preferred", policy: Found = NOTHING, **args: Any
    ) -> dict[str, Any]:
        tlsa = args.pop("tlsa", ())
        target = Target("mx.x.test", "127.0.0.1", server.port, 10)
        self.resolution = Resolution(
            (((target,),),),
            300,
            mx=() if args.get("routed") else (Mx(10, "mx.x.test"),),
            routed=args.pop("routed", False),
        )
        names = Names(tlsa)
        names.port = server.port
        means = Means(cast(Any, self.tally), time.time, self._authorities, Contexts(self._authorities))
        security = PolicySecurity(lambda _: Rule(level), Dane(cast(Any, names)), cast(Any, Policies(policy)), means)
        settings = ConnectionSettings(ClientSettings("esa.test"), Timeouts(connect_s=2))
        verifier = Verifier(cast(Any, self), security, lambda: settings)
        return await verifier.verb({"domain": "X.Test.", **args})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sts(mx: str) -> Found:
    return Found(Policy("enforce", 1000, (mx,), "version: STSv1"))


STRANGER = server_context(*Authority("nobody knows").host("mx.x.test"))


@pytest.mark.parametrize(
    ("case", "context", "delivered", "verdict"),
    [
        ({"tlsa": (EE,)}, CONTEXT, True, "TLS verified by DANE-EE 3 0 0"),
        ({"tlsa": (EE,)}, STRANGER, False, "DANE: the certificate does not match any TLSA record"),
        ({"tlsa": "broken"}, CONTEXT, False, "DANE: the TLSA records of mx.x.test cannot be looked up"),
        ({"policy": sts("mx.x.test")}, CONTEXT, True, "TLS verified by MTA-STS"),
        ({"policy": sts("mx.x.test")}, STRANGER, False, "the peer's certificate is not accepted"),
        ({"policy": sts("mx.y.test")}, CONTEXT, False, "MTA-STS: the policy of x.test does not name mx.x.test"),
        ({"policy": sts("mx.x.test")}, None, False, "TLS is required and the peer does not offer STARTTLS"),
        ({"level": "required-verify"}, CONTEXT, True, "TLS verified by authority"),
        ({"level": "required"}, STRANGER, True, "TLS not verified: nothing asks for it"),
        ({}, None, True, "no TLS: the host does not offer STARTTLS"),
        ({"routed": True}, CONTEXT, True, "TLS not verified: nothing asks for it"),
    ],
)
async def test_the_verdict_is_that_of_delivery(
    world: World, case: dict[str, Any], context: Any, delivered: bool, verdict: str
) -> None:
    async with ScriptedServer(host("X-OTHER", context=context)) as server:
        document = await world.verify(server, **case)
    (found,) = document["hosts"]
    assert (document["domain"], document["would_deliver"], found["would_deliver"]) == ("x.test", delivered, delivered)
    assert verdict in (found["verdict"] or found["reason"])
    assert document["lines"][-1] == "TLS verification completed."
    word = "would be delivered" if delivered else "would not be delivered"
    assert document["lines"][-2] == f"Mail {word}{' (hosts of a route)' if case.get('routed') else ''}."
    assert world.tally.seen == [], "looking is not counted"


async def test_the_steps_name_records_certificates_and_names(world: World) -> None:
    async with ScriptedServer(host("X-OTHER", context=CONTEXT)) as server:
        document = await world.verify(server, tlsa=(EE, Tlsa(1, 1, 1, b"x" * 32)))
    (found,) = document["hosts"]
    assert [one["usable"] for one in found["tlsa"]] == [True, False]
    assert (found["policy"], found["requires"], found["names"]) == ("tlsa", "TLS", ["mx.x.test"])
    lines = document["lines"]
    assert sum(line.startswith("  TLSA ") for line in lines) == 2
    assert any(line.startswith("  subject CN=mx.x.test, issuer CN=root") for line in lines)
    assert "TLS certificate verified." in lines


@pytest.mark.parametrize("how", ["{host}", "{host}:{port}", "x.test", ""])
async def test_one_host_may_be_named_with_or_without_its_port(world: World, how: str) -> None:
    async with ScriptedServer(host("X-OTHER", context=CONTEXT)) as server:
        document = await world.verify(server, host=how.format(host="MX.x.test", port=server.port))
    assert [(one["host"], one["port"]) for one in document["hosts"]] == [("mx.x.test", server.port)]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"host": "mx.y.test"}, "mx.y.test is no host of x.test; its hosts: mx.x.test"),
        ({"host": "mx.x.test:1"}, "mx.x.test:1 is no host of x.test"),
        ({"domain": "y.test"}, "y.test cannot be found"),
    ],
)
async def test_what_does_not_exist_is_said(world: World, args: dict[str, Any], says: str) -> None:
    async with ScriptedServer(host()) as server:
        with pytest.raises(GatepostError, match=says) as caught:
            await world.verify(server, **args)
    assert caught.value.status == 65
