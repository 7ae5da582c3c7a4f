"""tunnel.keyd.grant: what is kept of a seed, until when, and that no password is given out twice."""

from pathlib import Path

import msgspec
import pytest

from core.errors import GatepostError
from tests.support.keyd import Clock
from tunnel.keyd.grant import FILE_NAME, Grant, Grants
from tunnel.seed.password import COUNT


def _grant(grant_id: str = "g1", now: float = Clock().at, **changes: object) -> Grant:
    grant = Grant(
        grant_id=grant_id,
        case="SR1",
        serial="a-1",
        engineer="ana",
        fingerprint="0123456789abcdef",
        mode="tunnel",
        key_id=1,
        made_at=now,
        until_at=now + 1000,
        checked=True,
        secret=b"s" * 32,
        code_key=b"c" * 32,
    )
    return msgspec.structs.replace(grant, **changes)


def _grants(folder: Path, now: Clock | None = None) -> Grants:
    return Grants(folder / FILE_NAME, now or Clock())


def test_a_grant_outlives_a_restart_and_is_for_its_owner(tmp_path: Path) -> None:
    _grants(tmp_path).add(_grant())
    assert _grants(tmp_path).get("g1") == _grant()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_grant_does_not_show_its_keys_in_a_log() -> None:
    assert "ssss" not in repr(_grant())
    assert "cccc" not in repr(_grant())


def test_what_has_run_out_is_not_given_and_leaves_the_disk(tmp_path: Path) -> None:
    now = Clock()
    grants = _grants(tmp_path, now)
    grants.add(_grant())
    assert grants.sweep() == 0
    now.at += 1000
    with pytest.raises(GatepostError, match="has run out") as caught:
        grants.get("g1")
    assert caught.value.status == 66
    assert grants.sweep() == 1
    assert b"a-1" not in (tmp_path / FILE_NAME).read_bytes()


def test_a_forgotten_grant_leaves_the_disk(tmp_path: Path) -> None:
    grants = _grants(tmp_path)
    grants.add(_grant())
    assert grants.forget("g1")
    assert not grants.forget("g1")
    with pytest.raises(GatepostError):
        _grants(tmp_path).get("g1")


def test_a_case_has_one_grant_for_an_appliance(tmp_path: Path) -> None:
    grants = _grants(tmp_path)
    grants.add(_grant("g1"))
    grants.add(_grant("g2"))
    grants.add(_grant("g3", serial="b-2"))
    with pytest.raises(GatepostError):
        grants.get("g1")
    assert grants.get("g2").serial == "a-1"
    assert grants.get("g3").serial == "b-2"


def test_a_newer_activation_ends_the_grants_of_all_older_ones_if_it_was_checked(tmp_path: Path) -> None:
    grants = _grants(tmp_path)
    grants.add(_grant("g1", case="SR1"))
    grants.add(_grant("g2", case="SR2"))
    grants.add(_grant("g3", case="SR3", fingerprint="f" * 16, checked=False))
    assert grants.get("g1")
    grants.add(_grant("g4", case="SR4", fingerprint="f" * 16))
    assert grants.get("g3")
    for gone in ("g1", "g2"):
        with pytest.raises(GatepostError):
            grants.get(gone)


def test_no_password_is_given_out_twice_whoever_asks(tmp_path: Path) -> None:
    grants = _grants(tmp_path)
    grants.add(_grant("g1", case="SR1"))
    grants.add(_grant("g2", case="SR2"))
    numbers = [grants.number(grants.get(each), None) for each in ("g1", "g2", "g1")]
    grants.forget("g1")
    grants = _grants(tmp_path)
    grants.add(_grant("g3", case="SR1"))
    assert [*numbers, grants.number(grants.get("g3"), None)] == [0, 1, 2, 3]
    assert grants.number(grants.get("g3"), 1) == 1
    with pytest.raises(GatepostError, match="password 4 was never given out"):
        grants.number(grants.get("g3"), 4)


def test_passwords_come_to_an_end(tmp_path: Path) -> None:
    grants = _grants(tmp_path)
    grants.add(_grant())
    for _ in range(COUNT):
        grants.number(grants.get("g1"), None)
    with pytest.raises(GatepostError, match="enable access anew") as caught:
        grants.number(grants.get("g1"), None)
    assert caught.value.status == 69


def test_open_grants_of_a_support_key_are_counted(tmp_path: Path) -> None:
    now = Clock()
    grants = _grants(tmp_path, now)
    grants.add(_grant("g1", serial="a-1"))
    grants.add(_grant("g2", serial="b-2", key_id=2))
    grants.add(_grant("g3", serial="c-3", until_at=now.at + 5))
    assert (grants.of_key(1), grants.of_key(2), grants.of_key(3)) == (2, 1, 0)
    now.at += 10
    assert grants.of_key(1) == 1


def test_a_damaged_file_is_named_and_shows_nothing_of_itself(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"grants": {"g1": {"secret": "c2VjcmV0"}}}')
    with pytest.raises(GatepostError, match=r"grants\.json: damaged") as caught:
        _grants(tmp_path)
    assert caught.value.status == 78
    assert "c2VjcmV0" not in caught.value.text
