"""Who came in for service, and whose sessions somebody may take up."""

import pytest

from tunnel.service.visitor import CERTIFICATE, KEY, PASSWORD, ServiceLogin


def login(key_id: str, case: str = "", way: str = CERTIFICATE, source: str = "") -> ServiceLogin:
    return ServiceLogin("ana", case, key_id, False, 0.0, 0.0, way, source)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (login("ana@SR1#1", "SR1"), True),
        (login("bob@SR1#2", "SR1"), True),
        (login("ana@SR2#3", "SR2"), False),
        (login("SHA256:x", "", KEY), False),
        (login("password 1", "", PASSWORD), False),
    ],
)
def test_the_same_certificate_or_case_is_the_same_person(other: ServiceLogin, same: bool) -> None:
    assert login("ana@SR1#1", "SR1").same_person(other) is same


def test_no_case_is_no_case_in_common_and_a_password_is_nobody() -> None:
    assert login("SHA256:x", "", KEY).same_person(login("SHA256:x", "", KEY))
    assert not login("SHA256:x", "", KEY).same_person(login("SHA256:y", "", KEY))
    assert not login("password 1", "", PASSWORD).same_person(login("password 1", "", PASSWORD))


def test_it_says_by_what_way_it_came() -> None:
    assert str(login("ana@SR1#1", "SR1", source="ana@SR1#1")) == "ana, case SR1 (ana@SR1#1) from the tunnel"
    assert str(login("ana@SR1#1", "SR1", source="10.1.1.4")).endswith("from 10.1.1.4")
