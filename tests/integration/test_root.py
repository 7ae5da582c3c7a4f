"""Root operates a machine of another user: it acts as that user, and leaves nothing that the daemons cannot write."""

import os
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_daemons import moved
from tests.support.lab import GATEPOST, gatepost, ran, short_folder
from tests.support.need import as_root
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, as_root("to act as another user")]
OWNER = "daemon"


@pytest.fixture(scope="module")
def config() -> Iterator[Path]:
    """An SMA that belongs to a user without rights, in a folder that this user may enter."""
    with short_folder() as folder:
        folder.chmod(0o755)
        made = gatepost("init", "--role", "sma", "--dir", str(folder / "m"), "--hostname", "sma.example.test")
        assert made.status == 0, made
        for path in (folder / "m", *(folder / "m").rglob("*")):
            shutil.chown(path, OWNER)
        yield folder / "m" / "gatepost.toml"


def strangers(folder: Path) -> list[Path]:
    uid = pwd.getpwnam(OWNER).pw_uid
    return [path for path in folder.rglob("*") if path.lstat().st_uid != uid]


def test_an_operator_command_leaves_files_of_the_owner(config: Path) -> None:
    shown = gatepost("cli", "version", "--json", env={**os.environ, "GATEPOST_CONFIG": str(config)})
    assert shown.document["role"] == "sma"
    assert gatepost("check", "--config", str(config)).status == 0
    assert any((config.parent / "log").rglob("*.current")), "the command has written its log"
    assert strangers(config.parent) == []


def test_a_file_that_only_root_may_write_is_refused_with_the_reason(config: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    done = gatepost("bastion", "request", "--config", str(config), "--out", str(tmp_path / "request"))
    assert done.status == 73
    assert f"root acts as {OWNER}" in done.err


def test_an_administrators_key_that_is_roots_pairs(config: Path, tmp_path: Path) -> None:
    key = tmp_path / "admin"
    shutil.copy(config.parent / "keys" / "host_ed25519", key)
    key.chmod(0o600)
    nobody = f"127.0.0.1:{free_port()}"
    done = gatepost("pair", "--config", str(config), "--appliance", nobody, "--key", str(key), "--fingerprint", "x")
    assert done.status == 69, done  # the key was read: it is the gateway that does not answer
    assert strangers(config.parent) == []


def test_who_may_not_enter_the_folder_is_told_so_in_one_line(config: Path) -> None:
    config.parent.chmod(0o750)
    stranger = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "PYTHONDONTWRITEBYTECODE=1"]
    for words in (["check"], ["reload", "console"], ["cli", "--config", str(config), "version"]):
        more = [] if words[0] == "cli" else ["--config", str(config)]
        done = ran([*stranger, *GATEPOST, *words, *more])
        assert (done.status, done.err.count("\n")) == (78, 1), done
        assert f"{config}: cannot be read by this user; run this as the machine's owner or as root" in done.err
    named = {"GATEPOST_CONFIG": str(config), "PATH": os.environ["PATH"]}
    recording = ran([*stranger, *GATEPOST, "bastion", "verify", "/nowhere"], env=named)
    assert "Traceback" not in recording.err, recording


def test_root_that_may_not_become_the_owner_is_told_to_be_that_user(config: Path) -> None:
    powerless = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all"]
    done = ran([*powerless, *GATEPOST, "check", "--config", str(config)])
    assert (done.status, done.err.count("\n")) == (77, 1), done
    assert f"{config}: the machine is of {OWNER}; root may not become that user here" in done.err


def test_a_daemon_that_root_starts_by_hand_says_whose_machine_it_is(config: Path) -> None:
    mine = config.parent.with_name("by-hand")
    shutil.copytree(config.parent, mine)
    shutil.chown(mine, OWNER)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = (mine / "gatepost.toml").read_text()
        port = taken.getsockname()[1]
        (mine / "gatepost.toml").write_text(moved(text, "web", "port", str(port)))
        done = gatepost("run", "web", "--config", str(mine / "gatepost.toml"))
    assert done.status == 69, done
    assert f"web: runs as root on a machine of {OWNER} ({mine})" in done.err
    assert f"runuser -u {OWNER} -- gatepost run web" in done.err
