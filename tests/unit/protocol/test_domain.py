"""Domain names in one form."""

import pytest

from protocol.domain import canonical, check_domain, literal_address


@pytest.mark.parametrize(
    "written", ["Bücher.Example", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE.", "bücher.example"]
)
def test_all_ways_to_write_a_domain_are_one(written: str) -> None:
    assert canonical(written) == check_domain(written) == "xn--bcher-kva.example"


@pytest.mark.parametrize("strange", ["a" * 70 + "ü.example", "ü..example", "\ud800.example"])
def test_what_has_no_a_labels_stays_as_it_is(strange: str) -> None:
    assert canonical(strange) == strange


@pytest.mark.parametrize(
    "written", ["", "a..b", "-a.example", "a-.example", "a b", "a@b", "x" * 64, ".".join(["x"] * 130)]
)
def test_what_is_no_domain_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a domain name"):
        check_domain(written)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("[2001:db8::1]", None),
        ("[IPv6:192.0.2.1]", None),
        ("[x]", None),
        ("192.0.2.1", None),
    ],
)
def test_an_address_literal_gives_its_address(written: str, address: str | None) -> None:
    assert literal_address(written) == address
