"""`gatepost init`: the first administrator can log in as was asked for."""

import io
import os
import tomllib
from pathlib import Path

import pytest

from core.errors import EX_CANTCREAT, EX_DATAERR, EX_OK
from core.password import matches
from core.ssh import make_key, public_text
from daemons.gatepost import main
from ops.cli.commands.access.table import administers
from tests.support.need import as_root


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("plum tree lane\n"))


def made(folder: Path, *more: str) -> int:
    return main(["init", "--role", "sma", "--dir", str(folder / "m"), "--hostname", "sma.example.test", *more])


def user(folder: Path) -> dict[str, object]:
    (found,) = tomllib.loads((folder / "m" / "gatepost.toml").read_text())["user"]
    return dict(found)


@pytest.mark.usefixtures("typed")
def test_the_first_administrator_has_the_password_that_was_typed(tmp_path: Path) -> None:
    assert made(tmp_path, "--admin-password") == EX_OK
    first = user(tmp_path)
    assert matches(str(first["password"]), "plum tree lane")
    assert (first["login"], administers(first)) == (["password"], True)


@pytest.mark.usefixtures("typed")
def test_a_key_and_a_password_are_two_ways_in(tmp_path: Path) -> None:
    (tmp_path / "admin.pub").write_text(public_text(make_key("admin")))
    assert made(tmp_path, "--admin-key", str(tmp_path / "admin.pub"), "--admin-password") == EX_OK
    assert user(tmp_path)["login"] == ["key", "password"]


def test_a_key_alone_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "admin.pub").write_text(public_text(make_key("admin")))
    assert made(tmp_path, "--admin-key", str(tmp_path / "admin.pub")) == EX_OK
    assert "login" not in user(tmp_path)
    assert administers(user(tmp_path))


def test_a_password_that_everybody_tries_makes_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("password1\n"))
    assert made(tmp_path, "--admin-password") == EX_DATAERR
    assert "too easily guessed" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@as_root("gives a folder to another user")
def test_in_a_folder_of_another_user_root_makes_what_that_user_may(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o011)
    (tmp_path / "m").mkdir()
    (tmp_path / "cron.d").mkdir(mode=0o755)
    (tmp_path / "m" / "keys").symlink_to(tmp_path / "cron.d")
    os.chown(tmp_path / "m", 4_000_111, 4_000_111)
    assert made(tmp_path) == EX_CANTCREAT
    assert list((tmp_path / "cron.d").iterdir()) == []
    (tmp_path / "m" / "keys").unlink()
    assert made(tmp_path) == EX_OK
    assert {path.stat().st_uid for path in (tmp_path / "m").rglob("*")} == {4_000_111}
