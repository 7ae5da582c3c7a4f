"""Which machine a command is about where none is named, and what is said when its owner may not open a file."""

import argparse
import os
from pathlib import Path

import pytest

from daemons.owner import STANDARD, acting_as, add_config, name_of, owner_of, remark
from daemons.support.commands import add_arguments
from tests.support.need import as_root


def config_of(*words: str) -> Path:
    parser = argparse.ArgumentParser()
    add_config(parser)
    parsed: Path = parser.parse_args(words).config
    return parsed


def test_the_configuration_is_named_or_the_environments_or_the_standard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_CONFIG", "/srv/one/gatepost.toml")
    assert config_of("--config", "other.toml") == Path("other.toml")
    assert config_of() == Path("/srv/one/gatepost.toml")
    monkeypatch.setenv("GATEPOST_CONFIG", "")
    assert config_of() == STANDARD
    monkeypatch.delenv("GATEPOST_CONFIG")
    assert config_of() == Path("/etc/gatepost/gatepost.toml")


def test_the_owner_is_that_of_the_folder_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "gatepost.toml").touch()
    (tmp_path / "link").symlink_to(tmp_path / "machine" / "gatepost.toml")
    assert owner_of(tmp_path / "link") == (tmp_path / "machine").stat().st_uid
    assert owner_of(tmp_path / "nowhere" / "gatepost.toml") == os.geteuid()
    assert name_of(0) == "root"
    assert name_of(4_000_111) == "4000111"


def test_only_what_the_owner_may_not_open_is_remarked_on() -> None:
    assert remark(RuntimeError("no")) == ""
    outer = RuntimeError("cannot be read")
    outer.__cause__ = PermissionError()
    assert f"root acts as {name_of(os.geteuid())}" in remark(outer)


def test_keys_that_keyd_makes_for_root_alone_are_asked_for_by_root() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert not parser.parse_args(["support-key", "new"]).as_owner
    assert parser.parse_args(["support-key", "list"]).as_owner


@as_root("gives folders to others")
def test_whose_link_it_is_decides_and_not_where_that_leads(tmp_path: Path) -> None:
    (tmp_path / "everybodys").mkdir(mode=0o1777)
    (tmp_path / "everybodys" / "evil.toml").touch()
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "gatepost.toml").symlink_to("../everybodys/evil.toml")
    os.chown(machine, 4_000_111, 4_000_111)
    (tmp_path / "etc.toml").symlink_to(machine / "gatepost.toml")
    assert owner_of(tmp_path / "etc.toml") == 4_000_111
    assert owner_of(machine / "gatepost.toml") == 4_000_111
    assert owner_of(tmp_path / "everybodys" / "evil.toml") == 0


@as_root("becomes others")
def test_root_acts_as_another_for_a_while_and_is_root_again(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    with acting_as(4_000_111), pytest.raises(PermissionError):
        secret.read_bytes()
    assert (os.geteuid(), os.getegid(), secret.read_bytes()) == (0, 0, b"")
    with acting_as(0):
        secret.read_bytes()
