"""Tables fit the terminal by shortening only what may be shortened."""

from ops.cli.table import Column, table

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
