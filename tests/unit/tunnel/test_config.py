"""tunnel.config: what a section refuses."""

import pytest
from pydantic import ValidationError

from tunnel.config import BastionSection, KeydSection, TunnelSection

EXCHANGE = "A" * 43 + "="
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJxA"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "192.0.2.1"},
        {"host": "2001:db8::1"},
        {"port": 0},
        {"ports": [70000]},
        {"life_hours": 169},
        {"bastion_cas": ["AAAA"]},
        {"unknown": 1},
        {"support_keys": ["AAAA"]},
        {"support_keys": [f"0 {EXCHANGE}"]},
        {"support_keys": [f"32 {EXCHANGE}"]},
        {"support_keys": [f"\u0661 {EXCHANGE}"]},
        {"support_keys": [f"1 {EXCHANGE[:-4]}"]},
        {"support_keys": [f"1 {EXCHANGE}", f"1 {EXCHANGE}"]},
        {"support_keys": [f"{n} {EXCHANGE}" for n in (1, 2, 3)]},
    ],
)
def test_the_appliances_side_refuses(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TunnelSection.model_validate({"host": "upgrades.example.test", "bastion_cas": [KEY]} | changes)


def test_the_six_ports_are_the_default_and_25_comes_first() -> None:
    section = TunnelSection(host="upgrades.example.test")
    assert section.port == 25
    assert section.ports == (443, 22, 80, 53, 4766, 25)
    assert set(BastionSection(engineer_address="192.0.2.2").ports) == set(section.ports)


def test_two_support_keys_stand_side_by_side_so_that_one_can_follow_the_other() -> None:
    section = TunnelSection(support_keys=(f"7 {EXCHANGE}", f"1  {EXCHANGE}"))
    assert section.support_keys == (f"7 {EXCHANGE}", f"1 {EXCHANGE}")


@pytest.mark.parametrize("changes", [{"clients": ["two words"]}, {"clients": [""]}, {"wrong_seeds_per_hour": 0}])
def test_keyd_refuses(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        KeydSection.model_validate(changes)


def test_the_bastion_needs_an_address_for_engineers() -> None:
    with pytest.raises(ValidationError):
        BastionSection.model_validate({})
    with pytest.raises(ValidationError):
        BastionSection.model_validate({"engineer_address": "192.0.2.2", "recording": "never"})
