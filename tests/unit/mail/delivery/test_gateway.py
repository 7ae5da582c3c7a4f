"""Virtual gateways: the source of each connection."""

import pytest

from mail.delivery.gateway import AUTO, Source, VirtualGateways

_AUTO = Source(AUTO, "", "esa.example.test")
_ONE = Source("Out1", "127.0.1.2", "out1.example.test")
_TWO = Source("Out2", "127.0.1.3", "out2.example.test")


def test_without_interfaces_mail_leaves_by_the_system_choice_under_our_name():
    assert VirtualGateways(_AUTO).source() == _AUTO


def test_an_interface_is_found_by_its_name_whatever_the_case():
    assert VirtualGateways(_AUTO, [_ONE, _TWO]).source("OUT2") == _TWO


def test_a_group_gives_its_members_in_turn():
    gateways = VirtualGateways(_AUTO, [_ONE, _TWO], {"Pool": ["out1", "Out2"]})
    assert [gateways.source("pool").interface for _ in range(4)] == ["Out1", "Out2", "Out1", "Out2"]


def test_the_default_may_be_an_interface_or_a_group():
    assert VirtualGateways(_AUTO, [_ONE], default="out1").source("") == _ONE
    pool = VirtualGateways(_AUTO, [_ONE, _TWO], {"Pool": ["Out1", "Out2"]}, default="Pool")
    assert {pool.source("").interface for _ in range(2)} == {"Out1", "Out2"}


def test_the_default_group_and_its_name_share_their_turn():
    pool = VirtualGateways(_AUTO, [_ONE, _TWO], {"Pool": ["Out1", "Out2"]}, default="Pool")
    assert [pool.source("").interface, pool.source("Pool").interface] == ["Out1", "Out2"]


def test_a_name_that_is_gone_leaves_by_the_default_and_is_told_once():
    told: list[str] = []
    gateways = VirtualGateways(_AUTO, [_ONE], default="Out1", warn=told.append)
    assert [gateways.source("Old"), gateways.source("Old")] == [_ONE, _ONE]
    assert told == ["virtual gateway Old does not exist any more; its mail leaves by the default one"]


def test_a_member_that_does_not_exist_is_refused():
    with pytest.raises(KeyError):
        VirtualGateways(_AUTO, [_ONE], {"Pool": ["Out3"]})
