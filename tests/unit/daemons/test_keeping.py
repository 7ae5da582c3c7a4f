"""Backup and restore by root where the machine's user, or whoever made the archive, means ill."""

import errno
import fcntl
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from daemons.keeping.place import place_at
from daemons.keeping.source import Source
from tests.support.lab import Ran, gatepost
from tests.support.need import as_root

USER = 4_000_111
CONFIG = b'[appliance]\nrole = "esa"\nserial = "000C29-1"\nhostname = "m.example"\n'
FACTS = {"serial": "1", "role": "sma", "hostname": "m.example", "release": "1", "made_at": 1e9, "files": 1, "octets": 1}


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **facts: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o640
    for key, value in facts.items():
        setattr(entry, key, value)
    archive.addfile(entry, io.BytesIO(data))


def sums_of(*files: tuple[str, bytes]) -> bytes:
    return json.dumps({name: sha256(data).hexdigest() for name, data in files}).encode()


def made(path: Path, fill: Callable[[tarfile.TarFile], None], facts: dict[str, object] | None = None) -> Path:
    """Make a backup that is whole, with something more in it."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "backup.json", json.dumps({**FACTS, **(facts or {})}).encode())
        add(archive, "machine/", type=tarfile.DIRTYPE, mode=0o750)
        fill(archive)
        add(archive, "machine/gatepost.toml", CONFIG)
        more = [("state/x", b"x")] if "machine/state/x" in archive.getnames() else []
        add(archive, "sums.json", sums_of(("gatepost.toml", CONFIG), *more))
    return path


def restore(file: Path, folder: Path) -> Ran:
    return gatepost("restore", "--from", str(file), "--dir", str(folder))


def sparse(archive: tarfile.TarFile) -> None:
    add(archive, "machine/state/x", b"", pax_headers={"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"})


HOSTILE: dict[str, Callable[[tarfile.TarFile], None]] = {
    "through the link to the logs": lambda one: add(one, "machine/log/evil", b"x"),
    "a link": lambda one: add(one, "machine/state/x", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "another name of a file": lambda one: add(one, "machine/state/x", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "a device": lambda one: add(one, "machine/state/x", type=tarfile.CHRTYPE),
    "an absolute name": lambda one: add(one, "machine//etc/evil", b"x"),
    "a petabyte of nothing": sparse,
    "a user id that is none": lambda one: add(one, "machine/state/x", b"x", uid=1 << 40),
    "twice the same": lambda one: [add(one, "machine/state/x", b"x") for _ in "12"] and None,
    "a name for the terminal": lambda one: add(one, "machine/state/\x1b]0;evil\x07", b"x"),
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_hostile_archive_is_refused_in_a_line_and_leaves_nothing(harm: str, tmp_path: Path) -> None:
    logs, folder = tmp_path / "logs", tmp_path / "machine"
    logs.mkdir()
    folder.mkdir()
    (folder / "log").symlink_to(logs)
    failed = restore(made(tmp_path / "bad.tar", HOSTILE[harm]), folder)
    assert (failed.status in {65, 73}, failed.err.count("\n"), "\x1b" in failed.err) == (True, 1, False), failed
    assert [path.name for path in folder.iterdir()] == ["log"]
    assert list(logs.iterdir()) == []


@pytest.mark.parametrize(
    "facts", [{"hostname": "\x1b]0;evil\x07"}, {"made_at": -1e300}, {"counters": {"mid": 1 << 70}}, {"form": 2}]
)
def test_facts_that_cannot_be_are_refused(facts: dict[str, object], tmp_path: Path) -> None:
    failed = restore(made(tmp_path / "bad.tar", lambda _: None, facts), tmp_path / "machine")
    assert (failed.status, failed.err.count("\n")) == (65, 1), failed
    assert not (tmp_path / "machine").exists()
    assert restore(made(tmp_path / "good.tar", lambda _: None), tmp_path / "machine").status == 0


@as_root("gives files away")
def test_nothing_restored_runs_with_anothers_rights(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        add(archive, "machine/state/x", b"x", mode=0o6777, uid=USER, gid=USER)

    file, folder = made(tmp_path / "suid.tar", fill), tmp_path / "machine"
    folder.mkdir(mode=0o755)
    os.chown(folder, USER, USER)
    done = restore(file, folder)
    assert done.status == 0, done
    facts = (folder / "state/x").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid) == (0o775, USER)
    assert (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_uid) == (0o750, 0)  # as the archive has it


@as_root("gives files away, and acts as others")
def test_a_backup_by_root_reads_and_writes_what_the_machines_user_may(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o011)
    machine, secret = tmp_path / "machine", tmp_path / "secret"
    assert gatepost("init", "--role", "esa", "--dir", str(machine), "--hostname", "m.example").status == 0
    secret.mkdir(mode=0o700)
    (secret / "target").touch()
    (secret / "hidden").write_text("root's")
    (machine / "state/hidden").symlink_to(secret / "hidden")
    for path in (machine, *machine.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    done = gatepost("backup", "--config", str(machine / "gatepost.toml"), "--to", str(tmp_path / "all.tar"))
    assert done.status == 0, done
    with tarfile.open(tmp_path / "all.tar") as archive:
        assert "machine/state/hidden" not in archive.getnames()
    (machine / "state/of-root").touch(mode=0o600)
    failed = gatepost("backup", "--config", str(machine / "gatepost.toml"), "--to", str(tmp_path / "two.tar"))
    assert (failed.status, "state/of-root" in failed.err, "gives it back" in failed.err) == (77, True, True), failed
    (machine / "state/of-root").unlink()
    (machine / "spool").rename(machine / "spool-own")
    (machine / "spool").symlink_to(secret)  # what is laid out there would be root's
    failed = gatepost("backup", "--config", str(machine / "gatepost.toml"), "--to", str(tmp_path / "three.tar"))
    assert (failed.status, sorted(path.name for path in secret.iterdir())) == (77, ["hidden", "target"]), failed
    assert [path.name for path in tmp_path.glob("*.tar*")] == ["all.tar"]


KILLED = """
import os, signal, sys
from daemons.gatepost import main
from daemons.keeping import place, restore
where, name = {"number": (restore, "_number"), "sync": (place.os, "sync"), "rmdir": (place.os, "rmdir")}[sys.argv[1]]
setattr(where, name, lambda *_, **more: (more or name != "rmdir") and os.kill(os.getpid(), signal.SIGKILL))
main(["restore", "--from", sys.argv[2], "--dir", sys.argv[3]])
"""


@pytest.mark.parametrize("at", ["number", "sync", "rmdir"])
def test_a_restore_that_was_killed_left_a_folder_that_nobody_knew_what_to_do_with(at: str, tmp_path: Path) -> None:
    file, folder = made(tmp_path / "good.tar", lambda one: add(one, "machine/state/x", b"x")), tmp_path / "machine"
    folder.mkdir(mode=0o751)
    (folder / "log").symlink_to(tmp_path)
    died = subprocess.run([sys.executable, "-c", KILLED, at, str(file), str(folder)], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    config = folder / "gatepost.toml"
    checked = gatepost("check", "--config", str(config))
    if at != "rmdir":
        assert (checked.status, checked.err.count("\n")) == (78, 1)
        assert "a restore was broken off here" in checked.err
        init = gatepost("init", "--role", "esa", "--dir", str(folder), "--hostname", "a.example.test")
        assert (init.status, "broken-off `gatepost restore`" in init.err) == (73, True)
        assert restore(file, folder).status == 0
        assert not (folder / ".restoring").exists()
    else:
        assert "a restore was broken off" not in checked.err
        assert (restore(file, folder).status, restore(file, folder).err.count("is not empty")) == (73, 1)
    assert config.read_bytes() == CONFIG
    assert (folder / "log").readlink() == tmp_path
    assert (folder / "state" / "x").read_bytes() == b"x"


def test_of_two_restores_at_once_one_is_told_to_wait(tmp_path: Path) -> None:
    file, folder = made(tmp_path / "good.tar", lambda _: None), tmp_path / "machine"
    with place_at(folder):
        second = restore(file, folder)
        assert (second.status, "another restore writes there" in second.err) == (75, True)
        assert (folder / ".restoring").is_dir()


def test_a_disk_of_its_own_is_an_empty_folder(tmp_path: Path) -> None:
    file, folder = made(tmp_path / "good.tar", lambda _: None), tmp_path / "machine"
    (folder / "lost+found").mkdir(parents=True, mode=0o700)
    (folder / "lost+found" / "#12").write_bytes(b"found by fsck")
    ran = restore(file, folder)
    assert (ran.status, ran.err) == (0, "")
    assert (folder / "lost+found" / "#12").read_bytes() == b"found by fsck"
    (folder / "spool").mkdir(exist_ok=True)
    with Source(folder) as source:
        names = [name for name, _, _ in source.files()]
    assert "gatepost.toml" in names
    assert not [name for name in names if "lost+found" in name], "root's own: the machine's user may not read it"


def test_where_folders_cannot_be_locked_a_machine_is_restored_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_write_lock(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")  # NFS

    monkeypatch.setattr(fcntl, "flock", no_write_lock)
    with place_at(tmp_path / "machine") as place:
        assert place.inner.is_dir()


def test_a_restore_that_fails_gives_the_folder_no_other_mode(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        add(archive, "machine", type=tarfile.DIRTYPE, mode=0o777)
        add(archive, "machine/state/x", type=tarfile.SYMTYPE, linkname="/etc/passwd")

    folder = tmp_path / "machine"
    folder.mkdir(mode=0o751)
    assert restore(made(tmp_path / "bad.tar", fill), folder).status == 65
    assert folder.stat().st_mode & 0o7777 == 0o751
    assert list(folder.iterdir()) == []
