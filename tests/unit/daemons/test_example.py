"""The commented configurations in etc/ are those of the models, and what `gatepost init` writes is accepted."""

import tomllib
from pathlib import Path

import pytest

from daemons.check import check
from daemons.config import DOCUMENTS
from daemons.example import examples
from daemons.initial import make

ETC = Path(__file__).parents[3] / "etc"


@pytest.mark.parametrize("role", sorted(DOCUMENTS))
def test_etc_holds_what_the_models_say(role: str) -> None:
    assert (ETC / f"{role}.toml").read_text() == examples(DOCUMENTS)[role], "run: python -m daemons.example"


@pytest.mark.parametrize("role", ["esa", "sma"])
def test_a_new_machine_has_a_configuration_that_passes(role: str, tmp_path: Path) -> None:
    serial = make(role, tmp_path / "m", hostname="m.example.org")
    check(tmp_path / "m" / "gatepost.toml")
    assert tomllib.loads((tmp_path / "m" / "gatepost.toml").read_text())["appliance"]["serial"] == serial


def test_every_commented_default_is_accepted_when_it_is_set(tmp_path: Path) -> None:
    make("esa", tmp_path / "m", hostname="m.example.org")
    config = tmp_path / "m" / "gatepost.toml"
    lines = []
    for line in config.read_text().splitlines():
        key = line.removeprefix("#")
        usable = line.startswith("#") and " = " in key and not key.startswith(" ") and "(" not in key
        lines.append(key if usable and _in_plain_table(lines) else line)
    config.write_text("\n".join(lines) + "\n")
    check(config)
    assert tomllib.loads(config.read_text())["spool"]["reserve_percent"] == 5.0


def _in_plain_table(lines: list[str]) -> bool:
    heads = [line for line in lines if line.startswith(("[", "#["))]
    return bool(heads) and heads[-1].startswith("[")
