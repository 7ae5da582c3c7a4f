"""The executable: wrong usage is 64, configurations are judged whole, a machine is never overwritten."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.journal import Journal
from core.runtime import run
from core.ssh import key as ssh_key
from daemons.gatepost import DAEMONS, MODULES, main, parser
from daemons.machine import Machine
from ops.lab.sender import Letter, send_all


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
    assert len(secret) == 6
    assert [path.name for path in secret if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(
    ("words", "shape"), [((), r"[0-9A-F]{20}-[0-9A-F]{12}"), (("--hardware",), r"[0-9A-F]{12}-[0-9A-Z]{7}")]
)
def test_a_serial_number_has_one_of_the_two_shapes_of_the_model(
    tmp_path: Path, words: tuple[str, ...], shape: str
) -> None:
    main(["init", "--role", "esa", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org", *words])
    text = (tmp_path / "m" / "gatepost.toml").read_text()
    assert re.search(rf'^serial = "{shape}"$', text, re.MULTILINE)
    exchange = tmp_path / "m" / "keys" / "exchange_x25519"
    assert exchange.stat().st_mode & 0o777 == 0o600


def test_the_authorities_of_support_lie_where_only_keyd_looks(tmp_path: Path) -> None:
    main(["init", "--role", "bastion", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org"])
    keyd = tmp_path / "m" / "keyd"
    assert keyd.stat().st_mode & 0o777 == 0o700
    secret = {path.name for path in keyd.iterdir() if path.stat().st_mode & 0o077 == 0}
    assert secret >= {"engineer_ca_ed25519", "host_ca_ed25519", "recording_ed25519", "support_1_x25519"}
    assert not list((tmp_path / "m" / "keys").glob("*_ca_*"))


def test_the_executable_starts_without_the_heavy_libraries() -> None:
    code = "import sys; from daemons.gatepost import parser; parser('run'); print([m for m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"'asyncssh'", "'pydantic'", "'uvloop'"} & set(out.strip("[]\n").split(", "))


_LOOKS = """
import gc, sys
from core import runtime
from daemons import gatepost
looks = []
gc.callbacks.append(lambda phase, facts: looks.append(phase))
async def enabled():
    return gc.isenabled()
gatepost._execute = lambda words: [[one] for one in range(5000)] and len(looks) * 10 + runtime.run(enabled())
sys.argv = ["gatepost", "check"]
status = gatepost.main()
gc.callbacks.clear()
sys.exit(status if gc.get_freeze_count() > 5000 else 99)
"""


def test_a_third_of_a_commands_time_went_into_looking_for_garbage_among_what_it_imports() -> None:
    """Nothing is collected until a loop runs, then it is; the end of the process looks at nothing of it either."""
    assert subprocess.run([sys.executable, "-c", _LOOKS], timeout=60, check=False).returncode == 1


@pytest.fixture
def machines(tmp_path: Path) -> dict[str, str]:
    """A machine of each role; gives the names of their configurations."""
    for role in ("esa", "sma", "bastion"):
        assert main(["init", "--role", role, "--dir", str(tmp_path / role), "--hostname", f"{role}.example.org"]) == 0
    config = tmp_path / "bastion" / "gatepost.toml"
    text = config.read_text().replace("#engineer_address = (needed)", 'engineer_address = "127.0.0.2"')
    config.write_text(text)
    return {role: str(tmp_path / role / "gatepost.toml") for role in ("esa", "sma", "bastion")}


def test_a_daemon_of_another_role_is_one_line_and_no_traceback(
    machines: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for daemon, roles in DAEMONS.items():
        for role in machines.keys() - set(roles):
            assert main(["run", daemon, "--config", machines[role]]) == 64
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert f"of role {role}" in error


def test_a_daemon_that_runs_already_is_one_line_and_no_traceback(
    machines: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal.open(Path(machines["esa"]).parent / "spool" / "journal" / "delivery-queue")
    try:
        capsys.readouterr()
        assert main(["run", "delivery-queue", "--config", machines["esa"]]) == 75
        assert "does it run already?" in capsys.readouterr().err
    finally:
        journal.close()


def test_a_folder_that_cannot_be_used_is_named_without_a_traceback(
    machines: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Path(machines["esa"]).parent / "spool"
    spool.rmdir()
    spool.write_text("a file in the way")
    capsys.readouterr()
    assert main(["run", "gateway", "--config", machines["esa"]]) == 71
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(spool) in error


def test_the_bastions_commands_refuse_the_wrong_machine_and_the_wrong_file(
    machines: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = tmp_path / "bob"
    ssh_key.write_key(private, ssh_key.make_key())
    request = ["bastion", "request", "--out", str(tmp_path / "none" / "r"), "--config"]
    sign = ["bastion", "ca", "sign", "--engineer", "bob", "--case", "1", "--serials", "A-1", "--key"]
    tries = [
        ([*request, machines["bastion"]], 64, "of role bastion"),
        ([*request, machines["esa"]], 73, "choose another place with --out"),
        (["bastion", "enroll", "A-1", "--request", "r", "--config", machines["esa"]], 64, "of role esa"),
        ([*sign, f"{private}.pub", "--config", machines["sma"]], 64, "of role sma"),
        ([*sign, str(private), "--config", machines["bastion"]], 65, "give the .pub file"),
        ([*sign, machines["esa"], "--config", machines["bastion"]], 65, "not a public key line"),
        ([*sign, f"{private}.pub", "--minutes", "0", "--config", machines["bastion"]], 64, "at most 1440"),
    ]
    for words, status, text in tries:
        capsys.readouterr()
        assert main(words) == status
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


def test_an_administrator_key_that_is_none_makes_no_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README").write_text("# not a key\n")
    folder = tmp_path / "m"
    words = ["init", "--role", "esa", "--dir", str(folder), "--hostname", "m.example.org"]
    assert main([*words, "--admin-key", str(tmp_path / "README")]) == 65
    assert main([*words, "--admin-key", str(tmp_path / "nothing")]) == 66
    assert main([*words[:-1], "two words"]) == 65
    assert capsys.readouterr().err.count("\n") == 3
    assert not folder.exists()


def test_a_message_that_the_lab_refuses_is_one_line(tmp_path: Path) -> None:
    """`except*` wraps what it raises: the line used to come as a group with tracebacks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(GatepostError, match="did not take a message"):
        run(send_all("127.0.0.1", port, [Letter("a@b.test", ["c@d.test"], b"x\r\n")], lambda: None))


def test_check_opens_the_keys_and_does_not_only_look_whether_they_are_there(
    machines: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate of junk was "ok", and the gateway did not start."""
    keys = Path(machines["esa"]).parent / "keys"
    for name in ("tls.crt", "cpq.key", "host_ed25519"):
        (keys / name).write_text("junk")
    (keys / "tunnel_ed25519").unlink()
    capsys.readouterr()
    assert main(["check", "--config", machines["esa"]]) == 78
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert [name for name in ("tls.crt", "cpq.crt", "host_ed25519", "tunnel_ed25519") if name not in str(errors)] == []


def test_check_says_that_a_new_gateway_takes_no_mail_yet(
    machines: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["check", "--config", machines["esa"]]) == 0
    shown = capsys.readouterr().out
    assert "note: there is no [[listener]]" in shown
    assert "note: there is no [[user]]" in shown
    assert shown.endswith("gatepost.toml: ok\n")


def test_ids_that_cannot_be_written_stop_the_daemon_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway said `ready` and answered every connection 451. (Root may write everywhere, hence the stand-in.)"""
    main(["init", "--role", "esa", "--dir", str(tmp_path / "m"), "--hostname", "m.example.org"])
    machine = Machine.open(tmp_path / "m" / "gatepost.toml")
    refused = machine.spool / "ids"
    monkeypatch.setattr("os.access", lambda path, mode: path != refused)
    with pytest.raises(GatepostError, match="ids cannot be written by this user"):
        machine.numbers("mid")


@pytest.mark.parametrize(
    "words",
    ["check @", "health @", "serve @", "run web @", "backup --to . @", "cli @ status"],
)
def test_a_pipe_in_the_place_of_the_configuration_was_waited_for(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(config := tmp_path / "gatepost.toml")
    assert main(words.replace("@", f"--config {config}").split()) == 78
    assert capsys.readouterr().err == f"gatepost: {config}: cannot be read: it is not a file\n"
