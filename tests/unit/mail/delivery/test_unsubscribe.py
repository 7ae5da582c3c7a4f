"""The global unsubscribe list: what matches, and what may be written."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from mail.delivery.unsubscribe import Unsubscribed, parse_entry, read

LIST = Unsubscribed(
    map(
        parse_entry,
        ("Joe@Example.com", "ann@", "@gone.example", "@.below.example", "192.0.2.7", "@bücher.example", "2001:DB8::7"),
    )
)


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        ("JOE@example.COM", "joe@example.com"),
        ("joe@example.org", ""),
        ("Ann@anywhere.test", "ann@"),
        ('"j\\oe"@example.com', "joe@example.com"),  # a quoted name went past its entry
        ('"Ann"@anywhere.test', "ann@"),
        ("x@gone.example", "@gone.example"),
        ("x@sub.gone.example", ""),
        ("x@a.below.example", "@.below.example"),
        ("x@a.b.below.example", "@.below.example"),
        ("x@below.example", ""),
        ("x@xn--bcher-kva.example", "@xn--bcher-kva.example"),
        ("x@[192.0.2.7]", "192.0.2.7"),
        ("x@[IPv6:2001:db8:0::7]", "2001:db8::7"),
        ("postmaster", ""),
    ],
)
def test_what_falls_under_an_entry(address: str, entry: str) -> None:
    assert LIST.match(address) == entry


def test_an_address_stands_for_the_host_that_is_about_to_get_the_mail() -> None:
    assert LIST.match("x@other.test", "192.0.2.7") == "192.0.2.7"
    assert LIST.match("x@other.test", "192.0.2.8") == ""


def test_an_empty_list_is_false() -> None:
    assert not Unsubscribed()
    assert LIST


def test_entries_come_from_the_document_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "unsubscribed.txt"
    file.write_text("# as of today\njoe@example.com\n\n@gone.example  # moved\n")
    found = read(["ann@"], file, "bounce", "gatepost.toml")
    assert (len(found), found.action) == (3, "bounce")
    assert found.match("x@gone.example")


def test_every_line_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "unsubscribed.txt"
    file.write_text("joe@example.com\nnobody\na@b@\n@a..b\n10.0.0.300\n")
    with pytest.raises(ConfigError) as caught:
        read(["x"], file, "drop", "gatepost.toml")
    assert [(one.file, one.key) for one in caught.value.problems] == [
        ("gatepost.toml", "unsubscribe.entries[1]"),
        *((str(file), f"line {number}") for number in (2, 3, 4, 5)),
    ]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read([], tmp_path / "absent", "drop", "gatepost.toml")


def test_a_hundred_thousand_entries_are_found_by_hash(tmp_path: Path) -> None:
    file = tmp_path / "unsubscribed.txt"
    file.write_text("".join(f"user{number}@list{number % 50}.example\n" for number in range(100_000)))
    found = read([], file, "drop", "gatepost.toml")
    assert len(found) == 100_000
    assert found.match("USER99999@list49.example")
    assert not found.match("user99999@list48.example")
