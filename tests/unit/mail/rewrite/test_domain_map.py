import pytest

from mail.rewrite.domain_map import DomainMap, check_row
from protocol.address import Path


def mapped(rows: list[tuple[str, str]], address: str) -> tuple[str, str]:
    local, _, domain = address.rpartition("@")
    path, row = DomainMap(rows).lookup(Path(local, domain.lower(), address))
    assert path.text == f"{path.local}@{path.domain}" or not row
    return path.text, row


ROWS = [
    ("old.example", "new.example"),
    (".old.example", ".new.example"),
    (".gone.example", "new.example"),
    ("joe@old.example", "ann@new.example"),
]


@pytest.mark.parametrize(
    ("address", "result", "row"),
    [
        ("Bob@old.example", "Bob@new.example", "old.example"),
        ("bob@OLD.example", "bob@new.example", "old.example"),
        ("bob@a.b.old.example", "bob@a.b.new.example", ".old.example"),
        ("bob@x.gone.example", "bob@new.example", ".gone.example"),
        ("bob@gone.example", "bob@gone.example", ""),
        ("Joe@old.example", "ann@new.example", "joe@old.example"),
        ("bob@[192.0.2.1]", "bob@[192.0.2.1]", ""),
        ("postmaster", "postmaster", ""),
    ],
)
def test_the_closest_row_decides(address: str, result: str, row: str) -> None:
    assert mapped(ROWS, address) == (result, row)
    assert mapped(ROWS[::-1], address) == (result, row)


def test_a_result_is_not_looked_up_again() -> None:
    assert mapped([("a.example", "b.example"), ("b.example", "c.example")], "x@a.example") == (
        "x@b.example",
        "a.example",
    )


@pytest.mark.parametrize(
    ("match", "to"),
    [
        ("old.example", "joe@new.example"),
        ("old.example", ".new.example"),
        ("joe@old.example", ".new.example"),
        ("old example", "new.example"),
        ("old.example", ""),
        ("@old.example", "new.example"),
    ],
)
def test_rows_that_make_no_sense_are_refused(match: str, to: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_row(match, to)
