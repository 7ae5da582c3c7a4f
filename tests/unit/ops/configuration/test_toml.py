"""What is shown as TOML reads back as the same document."""

import tomllib

from ops.configuration.toml import toml


def test_a_document_reads_back_as_it_was() -> None:
    document = {
        "appliance": {"role": "esa", "odd key": 'quote " and \\ and ä'},
        "top": 1,
        "listener": [{"name": "A", "hat": {"groups": [1, 2.5, True]}}, {"name": "B", "rat": []}],
        "log": {"level": 3, "deep": {"x": "line\nend"}},
    }
    assert tomllib.loads(toml(document)) == document


def test_what_is_not_set_is_left_out() -> None:
    assert toml({"a": None, "b": 1}) == "b = 1\n"
