from pathlib import Path

import pytest

from core.errors import ConfigError
from mail.filter.load import Filters, FilterSource


def test_a_broken_new_file_keeps_the_running_filters(tmp_path: Path) -> None:
    file = tmp_path / "filters.txt"
    file.write_text("a: if true { drop(); }\r\n")
    filters = Filters(FilterSource(file))
    file.write_text("a: if true { drop(); }\nb: if true { drop() }\n")
    (problem,) = filters.reload()
    assert (problem.file, problem.key) == (str(file), "line 2, column 21")
    assert "expected ';', found '}'" in problem.reason
    assert [item.name for item in filters.program.filters] == ["a"]
    file.write_text("c: if true { drop(); }\n")
    assert filters.reload() == []
    assert [item.name for item in filters.program.filters] == ["c"]


def test_a_broken_file_at_start_is_a_configuration_error_with_all_faults(tmp_path: Path) -> None:
    file = tmp_path / "filters.txt"
    file.write_text("a: if true { nix(); }\n")
    with pytest.raises(ConfigError) as caught:
        Filters(FilterSource(file, text="a: if true {}\nb if"))
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match="cannot be read"):
        Filters(FilterSource(tmp_path / "absent"))


def test_names_are_unique_over_file_and_inline_text(tmp_path: Path) -> None:
    file = tmp_path / "filters.txt"
    file.write_text("a: if true { drop(); }\n")
    with pytest.raises(ConfigError, match="already a filter 'A'"):
        Filters(FilterSource(file, text="A: if true {}"))
