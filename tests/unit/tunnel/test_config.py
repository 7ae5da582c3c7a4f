"""tunnel.config: what a section refuses."""

import pytest
from pydantic import ValidationError

from tunnel.config import BastionSection, TunnelSection

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


def test_the_bastion_needs_an_address_for_engineers() -> None:
    with pytest.raises(ValidationError):
        BastionSection.model_validate({})
    with pytest.raises(ValidationError):
        BastionSection.model_validate({"engineer_address": "192.0.2.2", "recording": "never"})
