"""tunnel.keyd.keyring: keys are made once, kept from others, moved from where they were, and follow each other."""

import os
import stat
from pathlib import Path

import pytest

from core import agreement, ssh
from core.errors import GatepostError
from tests.support.keyd import Clock
from tests.support.need import as_root
from tunnel.keyd.keyring import HIGHEST, Keyring, adopt


def test_all_keys_are_made_once_and_are_for_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "keyd"
    first, second = Keyring(folder), Keyring(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("engineer_ca", "host_ca", "recording"):
        assert ssh.same_key(getattr(first, name), getattr(second, name))
    assert first.support_keys() == second.support_keys()
    assert [key.key_id for key in first.support_keys()] == [1]
    assert not [path for path in folder.iterdir() if path.suffix != ".pub" and path.stat().st_mode & 0o077]


@pytest.mark.parametrize(
    ("what", "mode"), [("keyd", 0o750), ("keyd", 0o701), ("keyd/engineer_ca_ed25519", 0o640), ("keyd/x", 0o604)]
)
def test_what_others_can_get_at_is_refused_in_one_line(tmp_path: Path, what: str, mode: int) -> None:
    Keyring(tmp_path / "keyd")
    (tmp_path / "keyd" / "x").touch(0o600)
    (tmp_path / what).chmod(mode)
    with pytest.raises(GatepostError, match=rf"{what}: open to other users") as caught:
        Keyring(tmp_path / "keyd")
    assert caught.value.status == 78
    assert "\n" not in caught.value.text


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "keyd").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GatepostError, match="not a folder") as caught:
        Keyring(tmp_path / "keyd")
    assert caught.value.status == 78


@as_root("giving a folder away")
def test_the_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keyd").mkdir(mode=0o700)
    os.chown(tmp_path / "keyd", 65534, 65534)
    with pytest.raises(GatepostError, match="belongs to user 65534") as caught:
        Keyring(tmp_path / "keyd")
    assert caught.value.status == 78


def test_one_support_key_follows_the_other(tmp_path: Path) -> None:
    now = Clock()
    ring = Keyring(tmp_path / "keyd", now)
    old = ring.support_key(1)
    now.at += 10
    assert ring.new_support_key() == 2
    assert [key.key_id for key in ring.support_keys()] == [1, 2]
    with pytest.raises(GatepostError, match="retire the older, 1, first"):
        ring.new_support_key()
    ring.retire_support_key(1)
    with pytest.raises(GatepostError, match=r"support key 1, which is not here \(here: 2\)") as caught:
        ring.support_key(1)
    assert caught.value.status == 65
    assert not list((tmp_path / "keyd").glob("support_1_*"))
    assert agreement.encode(old) not in "".join(p.read_text() for p in (tmp_path / "keyd").iterdir())
    with pytest.raises(GatepostError, match="only support key"):
        ring.retire_support_key(2)
    with pytest.raises(GatepostError, match="there is no support key 7"):
        ring.retire_support_key(7)


def test_a_number_is_used_again_only_after_all_the_others(tmp_path: Path) -> None:
    now = Clock()
    ring, numbers = Keyring(tmp_path / "keyd", now), [1]
    for _ in range(HIGHEST + 3):
        now.at += 1
        numbers.append(ring.new_support_key())
        ring.retire_support_key(numbers[-2])
        ring = Keyring(tmp_path / "keyd", now)
    assert numbers == [*range(1, 32), 1, 2, 3, 4]


def test_when_a_key_was_used_is_remembered(tmp_path: Path) -> None:
    now = Clock()
    ring = Keyring(tmp_path / "keyd", now)
    now.at += 100
    ring.used(1)
    assert [key.last_used_at - key.made_at for key in Keyring(tmp_path / "keyd").support_keys()] == [100]


def test_notes_that_are_damaged_are_named(tmp_path: Path) -> None:
    Keyring(tmp_path / "keyd")
    (tmp_path / "keyd" / "support.json").write_text("{")
    with pytest.raises(GatepostError, match=r"support\.json: damaged") as caught:
        Keyring(tmp_path / "keyd")
    assert caught.value.status == 78


def test_the_authorities_of_a_machine_from_before_keyd_move_and_stay_the_same(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    engineer_ca = ssh.ensure_key(keys / "engineer_ca_ed25519")
    assert adopt(keys, tmp_path / "keyd") == ["engineer_ca"]
    assert not (keys / "engineer_ca_ed25519").exists()
    assert ssh.same_key(Keyring(tmp_path / "keyd").engineer_ca, engineer_ca)
    assert adopt(keys, tmp_path / "keyd") == []


def test_a_key_that_keyd_has_is_not_replaced_by_an_older_one(tmp_path: Path) -> None:
    own = Keyring(tmp_path / "keyd").engineer_ca
    (tmp_path / "keys").mkdir()
    ssh.ensure_key(tmp_path / "keys" / "engineer_ca_ed25519")
    assert adopt(tmp_path / "keys", tmp_path / "keyd") == []
    assert ssh.same_key(Keyring(tmp_path / "keyd").engineer_ca, own)
