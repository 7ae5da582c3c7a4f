"""Ownership and links below a machine's folder while its user, taken over, works against it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import GatepostError
from daemons.systemd import folder, units
from tests.support.need import as_root

pytestmark = as_root("gives files away and goes on as other users")
USER, KEYD = (4_000_111, 4_000_112), 4_000_113


@contextmanager
def swapping(place: Path, target: Path) -> Iterator[None]:
    """Have a folder be a link to another place half of the time."""
    link, aside, ended = place.with_name("link"), place.with_name("aside"), threading.Event()
    link.symlink_to(target)

    def swap() -> None:
        while not ended.is_set():
            place.rename(aside)
            link.rename(place)
            place.rename(link)
            aside.rename(place)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_folder_that_becomes_a_link_in_between_gives_nothing_of_root_away(tmp_path: Path) -> None:
    machine, outside = tmp_path / "machine", tmp_path / "etc"
    (machine / "state").mkdir(parents=True)
    outside.mkdir()
    for number in range(50):
        (outside / f"shadow-{number}").touch()
        (machine / "state" / f"shadow-{number}").touch()
    with swapping(machine / "state", outside):
        for _ in range(100):
            folder._give_away(machine, USER, KEYD)
    assert {path.stat().st_uid for path in outside.iterdir()} == {0}
    folder._give_away(machine, USER, KEYD)
    assert {path.lstat().st_uid for path in [machine, *machine.rglob("*")]} == {USER[0]}


def test_what_is_keyds_stays_so_where_its_folder_is_renamed(tmp_path: Path) -> None:
    for name in ("keyd", "renamed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "root_ca_ed25519").touch(mode=0o600)
    os.chown(tmp_path / "renamed", KEYD, USER[1])
    os.chown(tmp_path / "renamed" / "root_ca_ed25519", KEYD, USER[1])
    folder._give_away(tmp_path, USER, KEYD)
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {KEYD}
    assert tmp_path.stat().st_uid == USER[0]


def test_work_in_the_folder_is_done_with_its_users_rights_and_says_what_failed(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o011)
    machine, outside = tmp_path / "var/lib/gatepost", tmp_path / "etc"
    (machine / "log").mkdir(parents=True)
    outside.mkdir(mode=0o755)
    (tmp_path / "var/log/gatepost").mkdir(parents=True)
    folder._give_away(machine, USER, KEYD)
    folder._give_away(tmp_path / "var/log/gatepost", USER, KEYD)
    (machine / "log" / "secret").symlink_to("/etc/shadow")
    folder._as_user(tmp_path, USER, folder._link_all)
    assert (machine / "run").readlink() == Path("/run/gatepost")
    assert (machine / "log").readlink() == Path("/var/log/gatepost")
    assert (tmp_path / "var/log/gatepost/secret").is_symlink()  # moved, not followed
    with pytest.raises(GatepostError, match="/etc/new: Permission denied"):
        folder._as_user(tmp_path, USER, lambda: Path("/etc/new").touch())
    with pytest.raises(GatepostError, match="ended by an error of its own"):
        folder._as_user(tmp_path, USER, lambda: {}[0])


def test_files_with_further_names_are_refused_where_anybody_may_make_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "shadow").touch()
    (tmp_path / "machine" / "mine").hardlink_to(tmp_path / "shadow")
    setting = tmp_path / "protected_hardlinks"
    setting.write_text("0\n")
    monkeypatch.setattr(folder, "_HARD_LINKS", setting)
    with pytest.raises(GatepostError, match="protected_hardlinks=1"):
        folder._give_away(tmp_path / "machine", USER, KEYD)
    assert (tmp_path / "shadow").stat().st_uid == 0
    setting.write_text("1\n")  # then it can only be a name of its own
    folder._give_away(tmp_path / "machine", USER, KEYD)


def test_a_link_in_the_place_of_a_key_hands_no_file_of_root_to_a_unit(tmp_path: Path) -> None:
    keys, copies = tmp_path / "keys", tmp_path / "credentials"
    keys.mkdir()
    (tmp_path / "shadow").write_text("root's own\n")
    (keys / "host_ed25519").symlink_to(tmp_path / "shadow")
    (keys / "tunnel_ed25519").hardlink_to(tmp_path / "shadow")
    os.mkfifo(keys / "bastion_host_ed25519")
    (keys / "command_client_ed25519").write_text("a key\n")
    for path in keys.iterdir():
        if path.name != "tunnel_ed25519":
            os.chown(path, *USER, follow_symlinks=False)
    folder._copy_keys(keys, copies, USER[0])
    assert [path.name for path in copies.iterdir()] == ["command_client_ed25519"]
    assert (copies.stat().st_mode & 0o777, (copies / "command_client_ed25519").read_text()) == (0o700, "a key\n")
    (keys / "command_client_ed25519").unlink()
    folder._copy_keys(keys, copies, USER[0])
    assert list(copies.iterdir()) == []


def test_systemd_reads_keys_from_where_only_root_says_what_a_name_stands_for() -> None:
    texts = [path.read_text() for path in units.source().glob("*.service")]
    places = {line for text in texts for line in text.splitlines() if line.startswith("LoadCredential=")}
    assert places == {f"LoadCredential={name}:/{folder.CREDENTIALS}/{name}" for name in units.credentials()}
    assert len(places) == 4
