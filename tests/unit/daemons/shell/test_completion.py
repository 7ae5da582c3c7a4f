"""`gatepost completion`: what a Tab gives in real shells."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from daemons.shell.completion import SHELLS, script
from daemons.shell.grammar import grammar
from tests.support.need import needs

CASES = [
    ("ru", ["run"]),
    ("run con", ["console"]),
    ("completion ", ["bash", "fish", "zsh"]),
    ("cli --config x sshconfig ", ["list", "login", "sshd", "userkey"]),
    ("cli --config x sshconfig userkey d", ["delete"]),
    ("cli --config x userconfig new bob --role ", ["administrator", "guest", "operator"]),
    ("cli --config x userconfig new bob --mu", ["--must-change"]),
    ("cli --config x listenerconfig edit InboundMail hostaccess pr", ["print"]),
    ("run gateway --inst", ["--instance"]),
    ("nonsense x", []),
]


@cache
def made(shell: str) -> str:
    return script(shell, grammar())


@needs("bash")
@pytest.mark.parametrize(("typed", "expected"), CASES, ids=[typed for typed, _ in CASES])
def test_bash_completes(tmp_path: Path, typed: str, expected: list[str]) -> None:
    (tmp_path / "c").write_text(made("bash"))
    words = ["gatepost", *typed.split(" ")]
    line = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gatepost; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", line, str(tmp_path / "c"), *words], capture_output=True, text=True, check=True, timeout=60
    )
    assert sorted(done.stdout.split()) == expected
    assert done.stderr == ""


@needs("bash")
def test_bash_completes_files_where_an_option_takes_one(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(made("bash"))
    (tmp_path / "gatepost.toml").write_text("")
    line = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gatepost; printf "%s\\n" "${COMPREPLY[@]}"'
    words = ["gatepost", "run", "web", "--config", str(tmp_path / "gate")]
    done = subprocess.run(
        ["bash", "-c", line, str(tmp_path / "c"), *words], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(tmp_path / "gatepost.toml")]


@needs("fish")
@pytest.mark.parametrize(("typed", "expected"), CASES[:-1], ids=[typed for typed, _ in CASES[:-1]])
def test_fish_completes(tmp_path: Path, typed: str, expected: list[str]) -> None:
    (tmp_path / "c").write_text(made("fish"))
    line = f'source {tmp_path / "c"}; complete -C "gatepost {typed}"'
    done = subprocess.run(
        ["fish", "-N", "-c", line],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    words = [row.partition("\t")[0] for row in done.stdout.splitlines()]
    assert sorted(words) == expected


@needs("zsh")
def test_zsh_completes_in_a_shell_that_somebody_types_into(tmp_path: Path) -> None:
    (tmp_path / "_gatepost").write_text(made("zsh"))
    assert subprocess.run(["zsh", "-n", str(tmp_path / "_gatepost")], check=False, timeout=60).returncode == 0
    probe = (
        "compdef() { :; }; _describe() { print -l -- $found; }; _files() { print FILES; }; "
        f"source {tmp_path / '_gatepost'}; "
        'words=(gatepost cli --config x sshconfig userkey ""); CURRENT=7; PREFIX=""; _gatepost; '
        'words=(gatepost run web --config ""); CURRENT=5; _gatepost'
    )
    done = subprocess.run(["zsh", "-f", "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    assert [row.partition(":")[0] for row in done.stdout.splitlines()] == ["delete", "list", "new", "FILES"], done


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str) -> None:
    paths = [" ".join(path) for path, _ in grammar().walk() if path]
    assert len(paths) > 100
    placed = [path.replace("*", "%") if shell == "fish" else path for path in paths]
    assert all(f"'{path}'" in made(shell) for path in placed)
    assert shutil.which(shell) is None or made(shell).endswith("\n")
