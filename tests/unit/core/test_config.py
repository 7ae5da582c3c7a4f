"""A broken configuration says everything that is wrong with it, at once, with file and key."""

from pathlib import Path

import pytest
from pydantic import Field

from core.config import Section
from core.config.document import load_document
from core.config.section import ApplianceSection, DnsSection
from core.errors import ConfigError


class Document(Section):
    appliance: ApplianceSection
    dns: DnsSection = DnsSection()


def test_a_good_document_is_typed_and_frozen(tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text('[appliance]\nrole = "esa"\nserial = "ABC-1"\nhostname = "a.example"\n')
    document = load_document(file, Document)
    assert document.appliance.serial == "ABC-1"
    assert document.dns.timeout_s == 5.0
    with pytest.raises(ValueError, match="frozen"):
        document.dns.timeout_s = 1.0  # type: ignore[misc]


def test_all_problems_are_named_with_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text('[appliance]\nserial = "a b"\nhostname = ""\n[dns]\ntimeout_s = "soon"\nserver = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load_document(file, Document)
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {"appliance.role", "appliance.serial", "appliance.hostname", "dns.timeout_s", "dns.server"}
    assert caught.value.status == 78
    assert all(str(problem).startswith(str(file)) for problem in caught.value.problems)
    assert "unknown key" in caught.value.text
    assert "required" in caught.value.text


class Guarded(Section):
    password: str = Field(default="", pattern=r"^\$argon2id")


def test_a_password_in_the_clear_is_not_repeated_in_the_problem(tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text('password = "hunter2"\n')
    with pytest.raises(ConfigError) as caught:
        load_document(file, Guarded)
    assert [problem.key for problem in caught.value.problems] == ["password"]
    assert "hunter2" not in caught.value.text


def test_one_value_where_a_list_belongs_is_told_to_take_brackets(tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text('[appliance]\nrole = "esa"\nserial = "A"\nhostname = "a"\n[dns]\nservers = "127.0.0.1:53"\n')
    with pytest.raises(ConfigError, match=r"dns\.servers: a list is needed, in brackets"):
        load_document(file, Document)


def test_what_is_not_toml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text("[appliance\n")
    with pytest.raises(ConfigError, match="line 1"):
        load_document(file, Document)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: there is no configuration; `gatepost init"):
        load_document(tmp_path / "absent.toml", Document)


def test_a_long_wrong_value_is_shown_by_its_beginning(tmp_path: Path) -> None:
    """A whole file that had been pasted into a key used to be shown whole."""
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[appliance]\nrole = "esa"\nserial = "A-1"\nhostname = "a {"b" * 5000}"\n')
    with pytest.raises(ConfigError) as caught:
        load_document(file, Document)
    assert len(caught.value.text) < 300 + len(str(file))
    assert "…" in caught.value.text
