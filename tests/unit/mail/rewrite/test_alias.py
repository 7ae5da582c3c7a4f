import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.rewrite.alias import MAX_TARGETS, Alias, AliasTable, domains_of

ROWS = [
    Alias("admin", ("administrator@example.com",)),
    Alias("help@example.com", ("bob@example.com", "frank@example.com", "team2")),
    Alias("help@.sub.example.com", ("bob@example.com", "team2")),
    Alias("team2@example.com", ("eve@example.com", "bob@example.com")),
    Alias("team2@.example.com", ("sub@example.com",)),
    Alias("devnull@example.com", ("/dev/null",)),
    Alias("joe@old.example", ("joe@new.example",)),
    Alias("@catch.example", ("boss@catch.example",)),
    Alias("keep@example.com", ("keep@example.com", "copy@archive.example")),
]
OURS = domains_of(["example.com", ".sub.example.com", "user@else.example"], "esa.example.test")


@pytest.mark.parametrize(
    ("address", "ends"),
    [
        ("help@example.com", ("bob@example.com", "frank@example.com", "eve@example.com")),
        ("HELP@Example.com", ("bob@example.com", "frank@example.com", "eve@example.com")),
        ("help@a.sub.example.com", ("bob@example.com", "sub@example.com")),
        ("help@sub.example.com", None),
        ("help@other.example", None),
        ("devnull@example.com", ()),
        ("admin@example.com", ("administrator@example.com",)),
        ("admin@esa.example.test", ("administrator@example.com",)),
        ("admin@else.example", None),
        ("joe@old.example", ("joe@new.example",)),
        ("anybody@catch.example", ("boss@catch.example",)),
        ("boss@catch.example", ("boss@catch.example",)),
        ("keep@example.com", ("keep@example.com", "copy@archive.example")),
        ("nobody@example.com", None),
    ],
)
def test_what_a_recipient_stands_for(address: str, ends: tuple[str, ...] | None) -> None:
    assert AliasTable(ROWS, OURS).lookup(address) == ends


def test_the_first_row_that_matches_decides() -> None:
    rows = [Alias("@a.example", ("all@b.example",)), Alias("x@a.example", ("x@b.example",))]
    assert AliasTable(rows).lookup("x@a.example") == ("all@b.example",)
    assert AliasTable(rows[::-1]).lookup("x@a.example") == ("x@b.example",)


def test_a_chain_is_followed_through_full_addresses_too() -> None:
    rows = [Alias("a@x.example", ("b@x.example",)), Alias("b@x.example", ("c@y.example", "/dev/null"))]
    assert AliasTable(rows).lookup("a@x.example") == ("c@y.example",)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([Alias("a", ("b",)), Alias("b", ("a",))], "circle: a to b to a"),
        ([Alias("a", ("a",))], "circle"),
        ([Alias("a", ("nobody",))], "there is no alias 'nobody'"),
        ([Alias("a@x.example", ("b",)), Alias("b@y.example", ("c@d.example",))], "no alias 'b'"),
        ([Alias("many", tuple(f"u{n}@x.example" for n in range(MAX_TARGETS + 1)))], "at most 1000"),
        ([Alias(f"a{n}", (f"a{n + 1}",)) for n in range(30)] + [Alias("a30", ("x@y.example",))], "more than 20"),
        ([Alias("a b", ("x@y.example",)), Alias("a", ("x@",))], "'a b'"),
    ],
)
def test_tables_that_cannot_be_followed_are_refused(rows: list[Alias], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AliasTable(rows)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(ValueError, match=r"'x'.*; .*'y'"):
        AliasTable([Alias("a", ("x",)), Alias("b", ("y",))])


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 8), min_size=1, max_size=3)), max_size=9))
def test_a_table_is_refused_or_ends_in_addresses_that_are_no_aliases(pairs: list[tuple[int, list[int]]]) -> None:
    rows = [Alias(f"u{left}@x.example", tuple(f"u{one}@x.example" for one in right)) for left, right in pairs]
    try:
        table = AliasTable(rows)
    except ValueError:
        return
    for row in rows:
        for end in table.lookup(row.name) or ():
            again = table.lookup(end)
            assert again is None or end in again


def test_a_small_table_that_is_hours_of_work_is_refused() -> None:
    """Each of 5 KiB of it took a tenth of a second, in every daemon."""
    many = Alias("many", tuple(f"user{n}@example.com" for n in range(MAX_TARGETS)))
    names = [Alias(f"name{n}", ("many",)) for n in range(MAX_TARGETS)]
    rows = [Alias(f"row{n}", tuple(name.name for name in names)) for n in range(1000)]
    top = Alias("top", tuple(row.name for row in rows))
    with pytest.raises(ValueError, match="more than 5,000,000 addresses"):
        AliasTable([top, many, *names, *rows])
