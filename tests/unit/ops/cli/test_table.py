"""Tables fit the terminal by shortening only what may be shortened."""

from ops.cli.table import Column, table, tall_table

HEADS = [Column("ID"), Column("Recipient\nHost", least=8), Column("N", right=True)]
ROWS = [["1", "a-very-long-host.example.test", "10"], ["22", "b", "9"]]


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert table(HEADS, ROWS).splitlines() == [
        "    Recipient",
        "ID  Host                            N",
        "1   a-very-long-host.example.test  10",
        "22  b                               9",
    ]


def test_a_narrow_terminal_shortens_the_flexible_column() -> None:
    lines = table(HEADS, ROWS, 20).splitlines()
    assert max(len(line) for line in lines) == 20
    assert lines[2] == "1   a-very-long…  10"


def test_a_column_keeps_its_least_width_even_if_the_line_is_too_long() -> None:
    assert table(HEADS, ROWS, 5).splitlines()[2] == "1   a-very-…  10"


def test_titles_wider_than_their_cells_are_broken_where_the_line_is_too_long() -> None:
    heads = [Column("Name"), Column("Seconds in queue"), Column("Hard bounces", right=True)]
    rows = [["Default", "259200", "dsn"]]
    assert table(heads, rows, 80).splitlines()[0] == "Name     Seconds in queue  Hard bounces"
    assert table(heads, rows, 30).splitlines() == [
        "         Seconds      Hard",
        "Name     in queue  bounces",
        "Default  259200        dsn",
    ]


def test_a_table_without_rows_is_its_heads() -> None:
    assert table([Column("A b"), Column("C")], [], 3) == "A b  C"


def test_a_column_goes_below_where_the_terminal_has_no_room() -> None:
    heads = [Column("Name"), Column("Long"), Column("Kind")]
    rows = [["a", "x" * 20, "one"], ["b", "y" * 20, "two"]]
    assert tall_table(heads, rows, 40, 1) == tall_table(heads, rows, 0, 1) == table(heads, rows)
    assert tall_table(heads, rows, 24, 1).splitlines() == [
        "Name  Kind",
        "a     one",
        "    " + "x" * 20,
        "b     two",
        "    " + "y" * 20,
    ]
