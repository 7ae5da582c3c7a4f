"""The examples of docs/filters.md are right."""

import re
from pathlib import Path

import pytest

from mail.filter.action import ACTION_NAMES
from mail.filter.compiler import compile_filters
from mail.filter.rule import RULE_NAMES

MANUAL = (Path(__file__).parents[4] / "docs" / "filters.md").read_text(encoding="utf-8")


def rows(section: str) -> list[list[str]]:
    text = MANUAL.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]


def test_the_example_file_compiles() -> None:
    example = MANUAL.split("```\n")[1]
    assert [item.name for item in compile_filters(example).filters] == ["invoices", "no_huge", "tag"]


@pytest.mark.parametrize("row", rows("Rules"), ids=lambda row: row[0])
def test_rule_examples_compile(row: list[str]) -> None:
    compile_filters(f"f: if {row[2].strip('`')} {{ drop(); }}")


@pytest.mark.parametrize("row", rows("Actions"), ids=lambda row: row[0])
def test_action_examples_compile(row: list[str]) -> None:
    compile_filters(f"f: if true {{ {row[2].strip('`')} }}")


def test_every_rule_and_action_is_described() -> None:
    def names(section: str) -> set[str]:
        return {re.match(r"`([a-z-]+)", row[0])[1] for row in rows(section)}  # type: ignore[index]

    assert names("Rules") == RULE_NAMES
    assert names("Actions") == ACTION_NAMES
