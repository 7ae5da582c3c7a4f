"""A management host is backed up while mail is held and released, and restored in another folder.

What was held when the backup began is held there and leaves as it came; whatever the copy says is held has its
content; the counters go on where no number was given. A backup that is damaged, or cut short, leaves nothing behind.
"""

import io
import json
import os
import re
import shutil
import signal
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.lab import Lab, Ran, alive, gatepost, running_lab
from tests.support.release import files_below
from tests.support.waiting import eventually

NETS = ("127.187", "127.188", "127.189", "127.190")
HELD = 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Kept:
    """A lab whose management host was backed up under load."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.file = folder / "sma.tar"
        self.rows = {row["id"]: row for row in lab.hold(count=HELD, within_s=150)}
        self.released = list(self.rows)[:5]
        stop = threading.Event()
        busy = [threading.Thread(target=one, args=(stop,)) for one in (self._hold, self._release)]
        for one in busy:
            one.start()
        try:
            self.ran = self.backup(self.file)
        finally:
            stop.set()
            for one in busy:
                one.join()

    def _hold(self, stop: threading.Event) -> None:
        while not stop.is_set():
            to = self.lab.address("later")
            self.lab.send([to], f"Subject: [hold] {to}\r\n\r\nbody\r\n".encode())

    def _release(self, stop: threading.Event) -> None:
        for id in self.released:
            self.lab.control("sma", "release-host", "quarantine_release", ids=[id])
            if stop.wait(0.1):
                return

    def backup(self, to: Path) -> Ran:
        return gatepost("backup", "--config", str(self.lab.config("sma")), "--to", str(to))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with running_lab(*NETS) as lab:
        yield Kept(lab, tmp_path_factory.mktemp("backup"))


def restore(file: Path, folder: Path) -> Ran:
    return gatepost("restore", "--from", str(file), "--dir", str(folder))


def test_a_backup_is_one_private_file_and_leaves_nothing_behind(kept: Kept) -> None:
    assert kept.ran.status == 0, kept.ran
    assert "holds private keys" in kept.ran.out
    assert kept.file.stat().st_mode & 0o777 == 0o600
    assert list((kept.lab.dir / "sma" / "spool").glob(".backup-*")) == []
    again = kept.backup(kept.file)
    assert (again.status, again.err) == (73, f"gatepost: {kept.file} exists; name another file, or a folder\n")


@pytest.mark.parametrize("harm", ["cut", "changed", "no backup", "another place"])
def test_a_bad_backup_leaves_the_folder_as_it_was(harm: str, kept: Kept, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    data = bytearray(kept.file.read_bytes())
    if harm == "cut":
        del data[len(data) // 2 :]
    elif harm == "changed":
        data[data.index(b"[appliance]")] ^= 1
    elif harm == "no backup":
        data = bytearray(b"hello")
    bad.write_bytes(data)
    if harm == "another place":
        with tarfile.open(kept.file) as source, tarfile.open(bad, "w") as target:
            first = source.next()
            assert first is not None
            target.addfile(first, source.extractfile(first))
            target.addfile(tarfile.TarInfo("machine/../../escaped"))
    (tmp_path / "machine" / "run").mkdir(parents=True)
    failed = restore(bad, tmp_path / "machine")
    assert failed.status == 65, failed
    *progress, last = failed.err.splitlines()
    assert last.startswith("gatepost: ")
    assert all("octets read" in line for line in progress)
    assert [path.name for path in (tmp_path / "machine").iterdir()] == ["run"]
    assert not (tmp_path / "escaped").exists()


def test_a_machine_that_is_there_is_not_overwritten(kept: Kept) -> None:
    before = files_below(kept.lab.dir / "bastion")
    refused = restore(kept.file, kept.lab.dir / "bastion")
    assert (refused.status, "is not empty" in refused.err) == (73, True)
    assert files_below(kept.lab.dir / "bastion").keys() >= before.keys()


def test_a_backup_of_a_newer_release_is_refused(kept: Kept, tmp_path: Path) -> None:
    newer = tmp_path / "newer.tar"
    with tarfile.open(kept.file) as source, tarfile.open(newer, "w", format=tarfile.PAX_FORMAT) as target:
        for entry in source:
            data: IO[bytes] | None = source.extractfile(entry) if entry.isreg() else None
            if entry.name == "machine/state/format.json":
                assert data is not None
                text = data.read().replace(b'"quarantine":[1,1]', b'"quarantine":[9,9]')
                data, entry.size = io.BytesIO(text), len(text)
            target.addfile(entry, data)
    refused = restore(newer, tmp_path / "machine")
    assert refused.status == 78, refused
    assert "quarantine 9 (here 1)" in refused.err
    assert not (tmp_path / "machine").exists()


def test_what_was_held_is_held_in_the_restored_machine_and_leaves_as_it_came(kept: Kept, tmp_path: Path) -> None:
    """Last: it takes the place of the lab's management host."""
    lab, place = kept.lab, kept.lab.dir / "sma"
    folder = tmp_path / "restored"
    restored = restore(kept.file, folder)
    assert restored.status == 0, restored
    for name in ("mid", "icid", "dcid"):
        first = int((folder / "spool" / "ids" / name).read_text())
        assert first > int((place / "spool" / "ids" / name).read_text()) + 900_000, name
    assert gatepost("check", "--config", str(folder / "gatepost.toml")).status == 0
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.geteuid()}
    for name in ("keys/cpq.key", "gatepost.toml", "state/access.db"):
        assert (folder / name).stat().st_mode == (place / name).stat().st_mode
    assert (folder / "keys" / "cpq.key").read_bytes() == (place / "keys" / "cpq.key").read_bytes()
    for pid in [pid for name, pids in lab.facts["pids"].items() if name.startswith("sma/") for pid in pids]:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: not alive(pid))  # type: ignore[misc]
    shutil.rmtree(place)  # the machine is lost
    shutil.move(folder, place)
    lab.start("sma")
    held = {row["id"]: row for row in lab.held()}
    assert held.keys() >= kept.rows.keys() - set(kept.released)
    for one in kept.rows.keys() & held.keys():
        lab.control("sma", "release-host", "quarantine_release", ids=[one])
        to = kept.rows[one]["recipients"][0]
        assert lab.wait_delivered(to, 60).content.endswith(kept.rows[one]["content"])
    lab.hold()
    eventually(lambda: re.search(r"\bMID \d{7,}\b", lab.log("sma")), "what comes now has a number never given")
    for one in lab.held():
        assert "[hold]" in json.dumps(lab.control("sma", "release-host", "quarantine_show", id=one["id"]))
