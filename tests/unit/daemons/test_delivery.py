"""Delivery's settings: what a row of [[destination]] says is what its connections get."""

from typing import get_args

import pytest

from daemons.delivery import DestinationTable
from mail.delivery.config import BounceProfileSection, DestinationSection
from mail.delivery.security import level_settings


def table(*rows: DestinationSection) -> DestinationTable:
    return DestinationTable(rows, [BounceProfileSection(name="Short", max_retries=3)])


@pytest.mark.parametrize("mode", get_args(DestinationSection.model_fields["tls"].annotation))
def test_a_row_gives_its_level_of_tls(mode: str) -> None:
    found = table(DestinationSection.model_validate({"domain": "X.test", "tls": mode}))
    assert found.tls("x.test") == mode
    assert found.tls("other.test") == "preferred"
    level_settings(found.tls("x.test"))


def test_a_domain_in_no_row_has_what_default_says() -> None:
    one = table(DestinationSection(max_connections=7, ip_preference="require-v6", bounce_profile="short"))
    assert one.limits("other.test").connections == 7
    assert one.limits("other.test").profile.max_retries == 3
    assert one.family("other.test") == "require-v6"


def test_the_quarantine_channel_never_gives_up_and_never_bounces() -> None:
    profile = table(DestinationSection(max_connections=7)).limits("the.cpq.host").profile
    assert not profile.spent(10_000_000)
    assert not profile.hard_bounce
