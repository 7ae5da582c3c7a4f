"""`ops.access.rule`: passwords that everybody would try first are refused, with the reason."""

import pytest

from core.errors import GatepostError
from core.password import matches
from ops.access.rule import check_password, stored_password


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "at least 10"),
        ("x" * 129, "at most 128"),
        ("administrator1", "name"),
        ("rotartsinimda", "name"),
        ("password1234", "guessed"),
        ("qwertyuiop12", "guessed"),
        ("Gatepost2026", "guessed"),
        ("esa.example.test", "guessed"),
        ("aaaaaaaaaaaa", "guessed"),
    ],
)
def test_what_is_refused(password: str, why: str) -> None:
    with pytest.raises(GatepostError, match=why) as caught:
        check_password(password, "administrator" if "name" in why else "ann", least=10, hostname="esa.example.test")
    assert caught.value.status == 65
    assert password not in caught.value.text


@pytest.mark.parametrize("password", ["plum tree lane", "Xk9#vTq2LmPz", "Straße nach Süden", "nine blue admin cats"])
def test_what_is_taken_fits_afterwards(password: str) -> None:
    assert matches(stored_password(password, "admin", least=8), password)
