import pytest

from mail.rewrite.masquerade import HEADERS, SENDER, Masquerade, check_match, check_result

ROWS = [
    ("joe@in.example", "Joe.Doe@out.example"),
    ("root", "postmaster@out.example"),
    ("@in.example", "@out.example"),
    ("@.in.example", "@out.example"),
]


@pytest.mark.parametrize(
    ("address", "result"),
    [
        ("joe@in.example", "Joe.Doe@out.example"),
        ("JOE@IN.EXAMPLE", "Joe.Doe@out.example"),
        ("Ann@in.example", "Ann@out.example"),
        ("ann@a.b.in.example", "ann@out.example"),
        ("root@anywhere.example", "postmaster@out.example"),
        ("ann@out.example", ""),
        ("", ""),
        ("postmaster", ""),
        ('"ann smith"@in.example', '"ann smith"@out.example'),
    ],
)
def test_what_an_address_becomes(address: str, result: str) -> None:
    assert Masquerade(ROWS).lookup(address) == result


def test_the_first_row_that_matches_decides() -> None:
    assert Masquerade([("ALL", "@all.example"), *ROWS]).lookup("joe@in.example") == "joe@all.example"
    assert Masquerade([*ROWS, ("ALL", "@all.example")]).lookup("joe@in.example") == "Joe.Doe@out.example"
    assert Masquerade([*ROWS, ("ALL", "@all.example")]).lookup("joe@else.example") == "joe@all.example"


def test_the_places_where_a_table_applies() -> None:
    assert not Masquerade(ROWS).sender
    assert Masquerade(ROWS, (SENDER,)).sender
    assert Masquerade(ROWS, (SENDER,)).headers == ()
    assert [name for name, _ in Masquerade(ROWS).headers] == list(HEADERS)
    assert not Masquerade((), (SENDER, *HEADERS))


def test_every_written_form_of_an_address_is_changed() -> None:
    values = [b" joe@in.example, JOE@in.example", b" ann@else.example"]
    assert Masquerade(ROWS).changes(values) == {
        "joe@in.example": "Joe.Doe@out.example",
        "JOE@in.example": "Joe.Doe@out.example",
    }


@pytest.mark.parametrize("text", ["", "joe@", "a b", "@", "@a b", "<joe@a.example>"])
def test_left_sides_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_match(text)


@pytest.mark.parametrize("text", ["", "joe", "@.out.example", "joe@", "a b@out.example"])
def test_right_sides_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_result(text)
