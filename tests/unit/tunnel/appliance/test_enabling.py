"""tunnel.appliance.enabling: what may be asked for, and that support comes to the same keys from seed and serial."""

from typing import Any

import pytest

from core import agreement
from core.errors import EX_CONFIG, EX_DATAERR, EX_USAGE, GatepostError
from core.ssh import public_text
from tunnel.appliance.activation import SSHACCESS, TUNNEL, Activation
from tunnel.appliance.enabling import Enabling, Wanted, wanted_of
from tunnel.config import TunnelSection
from tunnel.seed.code import day_of, read
from tunnel.seed.derive import derive
from tunnel.seed.password import accept, password

SERIAL = "564D00AABBCCDDEEFF00-0123456789AB"
NOW = 1_800_000_000.0
DAY_S = 86_400.0
SUPPORT = agreement.make_private()
OWN = agreement.make_private()


def _section(**changes: Any) -> TunnelSection:
    values: dict[str, Any] = {
        "support_keys": (f"3 {agreement.encode(agreement.public_of(SUPPORT))}",),
        **changes,
    }
    return TunnelSection(**values)


async def _allowed(wanted: Wanted, **changes: Any) -> tuple[Activation, str]:
    return await Enabling(_section(**changes), SERIAL, OWN).allow(wanted, NOW, Activation())


@pytest.mark.parametrize("mode", [TUNNEL, SSHACCESS])
@pytest.mark.parametrize("typed", ["", "four brown owls on a wall"])
async def test_support_comes_to_the_same_keys_from_seed_and_serial(mode: str, typed: str) -> None:
    kept, seed = await _allowed(Wanted(mode, 25, 7 * DAY_S, typed))
    again = read(seed)
    day = 0 if typed and mode == SSHACCESS else day_of(NOW + 7 * DAY_S)
    derived = derive(
        agreement.agree(SUPPORT, agreement.public_of(OWN)),
        again,
        serial=SERIAL,
        appliance_key=agreement.public_of(OWN),
        support_key=agreement.public_of(SUPPORT),
        key_id=3,
        day=day,
        mode=mode,
    )
    assert (again.key_id, again.day) == ((None, None) if typed else (3, day_of(NOW + 7 * DAY_S)))
    assert kept.service_key.split()[:2] == public_text(derived.key).split()[:2]
    assert (kept.seed_fingerprint, kept.key_id, kept.day) == (derived.fingerprint, 3, day)
    assert accept(kept.passwords, password(derived.code_key, 0)) is not None


async def test_two_activations_share_nothing_and_neither_seed_nor_private_key_is_kept() -> None:
    (one, seed), (other, _) = [await _allowed(Wanted(TUNNEL, 25, DAY_S)) for _ in range(2)]
    assert one.activation_id != other.activation_id
    assert one.service_key != other.service_key
    text = repr(one)
    assert seed not in text
    assert seed.replace("-", "") not in text
    assert "PRIVATE" not in text


async def test_the_account_gets_the_limit_that_is_configured() -> None:
    assert (await _allowed(Wanted(SSHACCESS, 0, DAY_S)))[0].account_until_at == 0
    assert (await _allowed(Wanted(SSHACCESS, 0, DAY_S), account_hours=2))[0].account_until_at == NOW + 7200


async def test_without_a_key_of_support_the_key_to_set_is_named() -> None:
    with pytest.raises(GatepostError, match=r"set tunnel\.support_keys") as caught:
        await _allowed(Wanted(TUNNEL, 25, DAY_S), support_keys=())
    assert caught.value.status == EX_CONFIG


@pytest.mark.parametrize("seed", ["short", "password1234", SERIAL, "1AAA-BBBB-CCCC-DDDD-EEEE"])
async def test_a_seed_that_is_mistyped_or_easily_guessed_is_refused(seed: str) -> None:
    with pytest.raises(GatepostError) as caught:
        await _allowed(Wanted(TUNNEL, 25, DAY_S, seed))
    assert caught.value.status == EX_DATAERR


def test_what_is_asked_for_is_read_with_its_defaults() -> None:
    section = _section(life_hours=48, port=443)
    assert wanted_of({}, section) == Wanted(TUNNEL, 443, 48 * 3600)
    asked = {"mode": "SSHACCESS", "port": 22, "hours": 1, "hops": ["10.1.1.5", "10.1.1.5", "fd00::1"], "ask": True}
    assert wanted_of(asked, section) == Wanted(SSHACCESS, 22, 3600, "", ("10.1.1.5", "fd00::1"), ask=True)


@pytest.mark.parametrize(
    "args",
    [
        {"mode": "open"},
        {"port": 70000},
        {"port": "25"},
        {"hours": 49},
        {"hours": -1},
        {"hours": "x"},
        {"seed": 5},
        {"hops": "10.0.0.1"},
        {"hops": ["host.example.test"]},
        {"hops": ["127.0.0.1"]},
        {"hops": ["169.254.169.254"]},
        {"hops": ["8.8.8.8"]},
        {"hops": ["::1"]},
        {"hops": ["fe80::1"]},
        {"hops": ["0.0.0.0"]},
        {"hops": [f"10.0.0.{n}" for n in range(17)]},
    ],
)
def test_what_does_not_fit_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(GatepostError) as caught:
        wanted_of(args, _section(life_hours=48))
    assert caught.value.status == EX_USAGE


def test_a_network_may_be_allowed_for_hops_and_loopback_only_if_it_is_listed_itself() -> None:
    laboratory = _section(hop_networks=("127.0.2.1/32",))
    assert wanted_of({"hops": ["127.0.2.1"]}, laboratory).hops == ("127.0.2.1",)
    section = _section(hop_networks=("192.0.2.0/24", "96.0.0.0/3"))
    assert wanted_of({"hops": ["192.0.2.7"]}, section).hops == ("192.0.2.7",)
    for address in ("127.0.0.1", "10.0.0.1"):
        with pytest.raises(GatepostError):
            wanted_of({"hops": [address]}, section)
