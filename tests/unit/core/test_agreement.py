"""core.agreement: two machines agree, forged keys agree on nothing, keys on disk stay what they are."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from core import agreement
from core.errors import GatepostError
from core.ssh import public_text
from core.ssh.key import key_of

SMALL_ORDER = [  # RFC 7748 6.1: points that make every secret zero
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_the_scalar_multiplication_of_rfc_7748_5_2() -> None:
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert agreement.agree(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_both_sides_agree() -> None:
    one, other = agreement.make_private(), agreement.make_private()
    assert agreement.agree(one, agreement.public_of(other)) == agreement.agree(other, agreement.public_of(one))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_forged_key_of_small_order_is_refused(point: str) -> None:
    with pytest.raises(GatepostError, match="nothing secret") as caught:
        agreement.agree(agreement.make_private(), bytes.fromhex(point))
    assert caught.value.status == 65


def test_expand_is_rfc_5869() -> None:
    secret, salt, info = b"s" * 32, b"t" * 32, b"where it is for"
    inner = hmac.digest(salt, secret, hashlib.sha256)
    blocks, block = b"", b""
    for number in (1, 2, 3):
        block = hmac.digest(inner, block + info + bytes([number]), hashlib.sha256)
        blocks += block
    assert agreement.expand(secret, salt, info, 96) == blocks


def test_a_signing_key_from_octets_is_rfc_8032_7_1() -> None:
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = key_of(secret).public_data
    assert public.endswith(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
    assert public_text(key_of(secret)) == public_text(key_of(secret))


def test_a_key_on_disk_is_for_its_owner_and_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "exchange_x25519"
    private = agreement.ensure_key(path)
    assert agreement.ensure_key(path) == private
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert agreement.decode((tmp_path / "exchange_x25519.pub").read_text()) == agreement.public_of(private)


@pytest.mark.parametrize("content", [b"", b"AAAA\n", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n", b"A" * 44])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "exchange_x25519"
    path.write_bytes(content)
    with pytest.raises(GatepostError, match="exchange_x25519: not an X25519 key") as caught:
        agreement.ensure_key(path)
    assert caught.value.status == 78


@pytest.mark.parametrize("octets", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(GatepostError, match="32 octets"):
        agreement.agree(agreement.make_private(), b"x" * octets)
