"""TOML that is meant to hurt whoever reads it."""

import tomllib

import pytest

from core.toml import DEEPEST, loads


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = " + "1" * 5000, "4300"),
        ("x = " + "[" * 200 + "]" * 200, "nested"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested"),
        ("x = " + "{a=" * 200 + "1" + "}" * 200, "nested"),
        (".".join(["a"] * 100) + " = 1", "nested"),
        (".".join(["a"] * 200_000) + " = 1", "128 parts"),
        ("[" + ".".join(["'a'"] * 200_000) + "]", "128 parts"),
        ("x = 2026-13-41", "Expected"),
        ("x", "Expected"),
    ],
    ids=["digits", "lists", "many lists", "tables", "dotted", "endless key", "endless quoted", "no date", "no TOML"],
)
def test_a_document_that_nobody_writes_by_hand_is_a_fault_and_no_crash(text: str, reason: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match=reason):
        loads(text)


def test_what_documents_have_is_read() -> None:
    reverse = ".".join(["0"] * 32) + ".ip6.arpa"
    text = f'domain = "{reverse}"\n[[listener]]\nname = "a"\n[[listener.sender_group]]\nentries = ["{"a." * 60}"]\n'
    assert loads(text) == tomllib.loads(text)
    assert loads("x = " + "[" * DEEPEST + "]" * DEEPEST)
