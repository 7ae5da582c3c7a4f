"""tunnel.registry: who is known, and a second machine under the same serial."""

from pathlib import Path

import pytest

from core import ssh
from core.errors import GatepostError
from tunnel.bastion.registry import Registry


def _keys() -> tuple[str, str]:
    return ssh.public_text(ssh.make_key()), ssh.public_text(ssh.make_key())


def test_an_enrolled_appliance_is_known_by_its_lower_case_serial(tmp_path: Path) -> None:
    tunnel_key, host_key = _keys()
    enrolled = Registry(tmp_path / "appliances").enroll("564D00AA-1", tunnel_key, host_key)
    registry = Registry(tmp_path / "appliances")
    assert registry.get("564d00aa-1") == enrolled
    assert registry.names() == ["564d00aa-1"]
    assert registry.get("564D00AA-1") is None
    assert registry.get("../appliances/564d00aa-1") is None


def test_the_same_keys_again_change_nothing_and_other_keys_need_a_word(tmp_path: Path) -> None:
    keys = _keys()
    first = Registry(tmp_path).enroll("sn-1", *keys)
    assert Registry(tmp_path).enroll("SN-1", *keys) == first
    with pytest.raises(GatepostError, match="cloned or replaced") as caught:
        Registry(tmp_path).enroll("sn-1", *_keys())
    assert caught.value.status == 65
    other = _keys()
    assert Registry(tmp_path).enroll("sn-1", *other, replace=True).tunnel_key == other[0]


def test_what_cannot_be_enrolled(tmp_path: Path) -> None:
    tunnel_key, host_key = _keys()
    for arguments in (("*", tunnel_key, host_key), ("sn-1", "x", host_key), ("sn-1", host_key, host_key)):
        with pytest.raises(GatepostError) as caught:
            Registry(tmp_path).enroll(*arguments)
        assert caught.value.status == 64
