"""tunnel.seed.derive against docs/protocol/seed-vectors.json, which a second implementation here computes as well.

The second one takes nothing from the project: RFC 7748's ladder in plain integers, HKDF and scrypt from the standard
library, the layout of `info` written out from docs/protocol/seed.md. `GOLDEN=write` writes the file from it.
"""

import base64
import hashlib
import hmac
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from core import agreement
from core.ssh import public_text
from tunnel.seed import code
from tunnel.seed.derive import SSHACCESS, TUNNEL, derive
from tunnel.seed.password import password

VECTORS = Path(__file__).parents[4] / "docs" / "protocol" / "seed-vectors.json"
VIRTUAL, HARDWARE = "564D00AABBCCDDEEFF00-0123456789AB", "000F1F6ACFA6-2Y5SQ41"
INPUTS: list[dict[str, Any]] = [
    {"seed": "11KN-D0ST-DRRR-RRRR-RR??", "serial": VIRTUAL, "key_id": 1, "day": 2517, "mode": "tunnel"},
    {"seed": "1ZZZ-Z000-0000-0000-00??", "serial": HARDWARE, "key_id": 31, "day": 4095, "mode": "sshaccess"},
    {"seed": "correct  horse battery staple", "serial": VIRTUAL, "key_id": 2, "day": 2519, "mode": "tunnel"},
    {"seed": " Gru\u0308ne Wolken im \uff2dai ", "serial": HARDWARE, "key_id": 3, "day": 0, "mode": "sshaccess"},
]
P = 2**255 - 19


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748 5, on plain integers."""
    k = int.from_bytes(scalar, "little") & ~7 & ((1 << 255) - 1) | (1 << 254)
    u = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def _lp(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def second(given: dict[str, Any]) -> dict[str, Any]:
    """Compute a vector from its inputs and two private keys made of its serial."""
    serial = given["serial"].lower().encode()
    a, s = hashlib.sha256(b"a" + serial).digest(), hashlib.sha256(b"s" + serial).digest()
    base = (9).to_bytes(32, "little")
    appliance, support = x25519(a, base), x25519(s, base)
    secret = x25519(a, support)
    text = given["normal"].encode()
    psk = hashlib.scrypt(text, salt=b"gatepost1/seed|" + serial, n=32768, r=8, p=1, maxmem=2**26, dklen=32)
    numbers = bytes([given["key_id"]]) + given["day"].to_bytes(2, "big")
    mode = given["mode"].upper().encode()
    info = b"gatepost1" + _lp(serial) + _lp(appliance) + _lp(support) + numbers + _lp(mode)
    prk = hmac.new(psk, secret, hashlib.sha256).digest()
    okm = block = b""
    for number in (1, 2, 3):
        block = hmac.new(prk, block + info + bytes([number]), hashlib.sha256).digest()
        okm += block
    passwords = {}
    for number in (0, 1, 5, 49):
        digest = hmac.new(okm[32:64], b"pw" + number.to_bytes(4, "big"), hashlib.sha256).digest()
        passwords[str(number)] = base64.b32encode(digest).decode()[:16]
    return given | {
        "appliance_private": a.hex(),
        "appliance_public": appliance.hex(),
        "support_private": s.hex(),
        "support_public": support.hex(),
        "secret": secret.hex(),
        "stretched": psk.hex(),
        "info": info.hex(),
        "okm": okm.hex(),
        "fingerprint": hmac.new(okm[64:96], b"fp", hashlib.sha256).digest()[:8].hex(),
        "passwords": passwords,
    }


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    """Put the checksum behind a code and write down the normal form, by trying and by hand."""
    seed = given["seed"]
    if "??" not in seed:
        normal = {"correct": "correct horse battery staple", "Gr": "Gr\u00fcne Wolken im Mai"}
        return given | {"normal": next(text for start, text in normal.items() if seed.strip().startswith(start))}
    symbols = [code.ALPHABET.index(letter) for letter in seed.replace("-", "")[:18]]
    for tail in itertools.product(range(32), repeat=2):
        if _syndromes([*symbols, *tail]) == (0, 0):
            break
    text = "".join(code.ALPHABET[symbol] for symbol in [*symbols, *tail])
    return given | {"seed": "-".join(text[i : i + 4] for i in range(0, 20, 4)), "normal": text}


def _syndromes(symbols: list[int]) -> tuple[int, ...]:
    """Evaluate the polynomial of the symbols at 2 and 4 in GF(32), by Horner and shift-and-add."""

    def times(one: int, other: int) -> int:
        product = 0
        for bit in range(5):
            product ^= (one << bit) if other >> bit & 1 else 0
        for bit in (8, 7, 6, 5):
            product ^= (37 << (bit - 5)) if product >> bit & 1 else 0
        return product

    values = []
    for point in (2, 4):
        value = 0
        for symbol in symbols:
            value = times(value, point) ^ symbol
        values.append(value)
    return tuple(values)


def _vectors() -> list[dict[str, Any]]:
    if os.environ.get("GOLDEN") == "write":
        made = [second(_completed(given)) for given in INPUTS]
        VECTORS.write_text(json.dumps(made, indent=1, ensure_ascii=True) + "\n")
    vectors: list[dict[str, Any]] = json.loads(VECTORS.read_text())
    return vectors


VECTORS_KEPT = _vectors()


@pytest.mark.parametrize("vector", VECTORS_KEPT, ids=lambda vector: vector["normal"][:12])
def test_a_second_implementation_comes_to_the_same(vector: dict[str, Any]) -> None:
    names = ("seed", "normal", "serial", "key_id", "day", "mode")
    assert second({name: vector[name] for name in names}) == vector
    if vector["normal"].startswith("1"):
        assert _syndromes([code.ALPHABET.index(letter) for letter in vector["normal"]]) == (0, 0)


@pytest.mark.parametrize("vector", VECTORS_KEPT, ids=lambda vector: vector["normal"][:12])
@pytest.mark.parametrize("side", ["appliance", "support"])
def test_both_sides_come_to_the_vectors(vector: dict[str, Any], side: str) -> None:
    own, other = ("appliance", "support") if side == "appliance" else ("support", "appliance")
    seed = code.read(vector["seed"])
    assert seed.text == vector["normal"]
    if seed.key_id is not None:
        assert (seed.key_id, seed.day) == (vector["key_id"], vector["day"])
    shared = agreement.agree(bytes.fromhex(vector[f"{own}_private"]), bytes.fromhex(vector[f"{other}_public"]))
    assert shared.hex() == vector["secret"]
    found = derive(
        shared,
        seed,
        serial=vector["serial"],
        appliance_key=bytes.fromhex(vector["appliance_public"]),
        support_key=bytes.fromhex(vector["support_public"]),
        key_id=vector["key_id"],
        day=vector["day"],
        mode=vector["mode"],
    )
    okm = bytes.fromhex(vector["okm"])
    assert (found.secret, found.code_key) == (okm[:32], okm[32:64])
    assert found.fingerprint == vector["fingerprint"]
    assert {number: password(found.code_key, int(number)) for number in vector["passwords"]} == vector["passwords"]


def _any(**changes: Any) -> str:
    given: dict[str, Any] = {
        "serial": "a-1",
        "appliance_key": b"a" * 32,
        "support_key": b"s" * 32,
        "key_id": 1,
        "day": 2517,
        "mode": TUNNEL,
    }
    seed = changes.pop("seed", code.Seed("correct horse battery", None, None))
    shared = changes.pop("shared", b"z" * 32)
    return derive(shared, seed, **(given | changes)).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": "a-2"},
        {"appliance_key": b"b" * 32},
        {"support_key": b"t" * 32},
        {"key_id": 2},
        {"day": 2518},
        {"mode": SSHACCESS},
        {"shared": b"y" * 32},
        {"seed": code.Seed("correct horse batterx", None, None)},
    ],
)
def test_whatever_differs_gives_other_keys(changes: dict[str, Any]) -> None:
    assert _any(**changes) != _any()


def test_case_of_serial_and_mode_do_not_matter() -> None:
    assert _any(serial="A-1", mode="tunnel") == _any()


def test_the_derived_key_logs_in_as_an_ordinary_key_and_shows_no_secret() -> None:
    found = derive(
        b"z" * 32,
        code.Seed("correct horse battery", None, None),
        serial="a-1",
        appliance_key=b"a" * 32,
        support_key=b"s" * 32,
        key_id=1,
        day=1,
        mode=TUNNEL,
    )
    assert public_text(found.key).startswith("ssh-ed25519 AAAA")
    assert found.secret.hex() not in repr(found)
    assert repr(found.secret) not in repr(found)
    assert repr(found.code_key) not in repr(found)
