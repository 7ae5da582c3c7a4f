"""One row a line: what is written is read again, whatever the words are, and every fault has its line."""

from hypothesis import given
from hypothesis import strategies as st

from ops.formats.line import Lines

ROUTES = Lines("SMTP routes", "domain", "hosts", several=True)
ENTRIES = Lines("Entries", "entry")
WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)


@given(st.lists(st.tuples(WORD, st.lists(WORD, min_size=1, max_size=4))))
def test_rows_survive_the_file(rows: list[tuple[str, list[str]]]) -> None:
    parsed = ROUTES.parse(ROUTES.format([{"domain": domain, "hosts": hosts} for domain, hosts in rows]))
    assert parsed.faults == ()
    assert [(entry.values["domain"], entry.values["hosts"]) for entry in parsed.entries] == rows


@given(st.lists(WORD))
def test_words_survive_the_file(words: list[str]) -> None:
    parsed = ENTRIES.parse(ENTRIES.format([{"entry": word} for word in words]))
    assert parsed.faults == ()
    assert [entry.values["entry"] for entry in parsed.entries] == words


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    for found in (ROUTES.parse(text), ENTRIES.parse(text)):
        assert all(fault.startswith("line ") for fault in found.faults)


def test_comments_colons_commas_and_blanks() -> None:
    text = (
        "# head\n\nexample.com:  a.example, b.example c.example\n  ALL /dev/null   # the rest\n[1.2.3.4] [5.6.7.8]:25\n"
    )
    parsed = ROUTES.parse(text)
    assert [(entry.line, dict(entry.values)) for entry in parsed.entries] == [
        (3, {"domain": "example.com", "hosts": ["a.example", "b.example", "c.example"]}),
        (4, {"domain": "ALL", "hosts": ["/dev/null"]}),
        (5, {"domain": "[1.2.3.4]", "hosts": ["[5.6.7.8]:25"]}),
    ]


def test_every_fault_is_told_with_its_line() -> None:
    assert ROUTES.parse("alone\n, b\nok x\n").faults == (
        "line 1: DOMAIN HOSTS… is needed",
        "line 2: a comma without a word before it: ', b'",
    )
    assert ENTRIES.parse("a b\n").faults == ("line 1: one word is needed: ENTRY",)
