"""`gatepost manual`: pages that render without a warning and leave nothing out."""

import subprocess
from pathlib import Path

import pytest

from daemons.document import every_command
from daemons.gatepost import DAEMONS, MODULES
from daemons.operator import document_keys
from daemons.shell.manual import pages
from tests.support.need import needs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def shown(page: Path) -> str:
    words = ["man", "--warnings=w", "-E", "UTF-8", "-l", str(page)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=60, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200"}
    )
    assert done.stderr == ""
    return " ".join(done.stdout.replace("\u2010", "-").split())


@needs("man")
def test_the_pages_render_without_warnings_and_name_everything(made: Path) -> None:
    assert {page.name for page in made.iterdir()} == {
        *("gatepost.1", "gatepost-cli.1", "gatepost.toml.5"),
        *(f"gatepost-{name}.8" for name in DAEMONS),
    }
    executable = shown(made / "gatepost.1")
    assert all(f" {name} " in executable for name in ("run", "check", "cli", *MODULES))
    commands = shown(made / "gatepost-cli.1")
    assert [item.name for item in every_command().all() if item.name not in commands] == []
    assert [name for name in document_keys() if f"[{name}]" not in shown(made / "gatepost.toml.5")] == []
    assert "SIGHUP" in shown(made / "gatepost-gateway.8")


@needs("mandoc")
def test_mandoc_finds_nothing_to_warn_of(made: Path) -> None:
    for page in sorted(made.iterdir()):
        done = subprocess.run(
            ["mandoc", "-Tlint", "-Wwarning", str(page)], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.stdout, done.stderr) == ("", ""), page.name
