"""The executable: wrong usage is 64, configurations are judged whole, a machine is never overwritten."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemons.gatepost import DAEMONS, MODULES, main, parser


@pytest.mark.parametrize("words", [[], ["fly"], ["run", "fly"], ["init", "--role", "moon", "--dir", "x"], ["lab"]])
def test_wrong_usage_is_one_line_and_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 64
    assert capsys.readouterr().err.count("\n") == 1


def test_all_commands_have_their_arguments_when_the_parser_is_built_whole() -> None:
    text = parser().format_help()
    assert all(name in text for name in MODULES)
    parsed = parser().parse_args(["bastion", "enroll", "A-1", "--request", "r", "--config", "c"])
    assert parsed.serial == "A-1"


def test_every_daemon_has_a_root_that_the_executable_finds() -> None:
    root = Path(__file__).parents[3] / "daemons"
    assert all((root / f"{name.replace('-', '_')}.py").exists() for name in DAEMONS)


def test_a_broken_configuration_names_everything_and_leaves_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--role", "esa", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org"]) == 0
    config = tmp_path / "m" / "gatepost.toml"
    text = config.read_text().replace("[dns]", '[dns]\nnonsense = 1\ntimeout_s = "soon"')
    config.write_text(text)
    capsys.readouterr()
    assert main(["check", "--config", str(config)]) == 78
    errors = capsys.readouterr().err
    assert "dns.nonsense" in errors
    assert "dns.timeout_s" in errors


def test_filters_are_checked_with_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "--role", "esa", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org"])
    config = tmp_path / "m" / "gatepost.toml"
    (tmp_path / "m" / "f.txt").write_text('fine: if (true) { log-entry("x"); }\none: if (subject = "x") { drop(); }\n')
    config.write_text(config.read_text().replace('#file = ""', 'file = "f.txt"', 1))
    capsys.readouterr()
    assert main(["check", "--config", str(config)]) == 78
    assert "line 2, column 18" in capsys.readouterr().err


def test_a_machine_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "--role", "sma", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org"]
    assert main(words) == 0
    before = (tmp_path / "m" / "keys" / "cpq.key").read_bytes()
    assert main(words) == 73
    assert (tmp_path / "m" / "keys" / "cpq.key").read_bytes() == before
    assert "exists already" in capsys.readouterr().err


def test_keys_are_private(tmp_path: Path) -> None:
    main(["init", "--role", "sma", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org"])
    secret = [path for path in (tmp_path / "m" / "keys").iterdir() if path.suffix in (".key", "") and path.is_file()]
    assert len(secret) == 5
    assert [path.name for path in secret if path.stat().st_mode & 0o077] == []


def test_the_executable_starts_without_the_heavy_libraries() -> None:
    code = "import sys; from daemons.gatepost import parser; parser('run'); print([m for m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"'asyncssh'", "'pydantic'", "'uvloop'"} & set(out.strip("[]\n").split(", "))
