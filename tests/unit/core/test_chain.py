"""`core.chain`: which certificates a TLSA record or an authority accepts."""

import hashlib
import time
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtensionOID

from core.chain import ChainRefused, check_authorities, check_dane, check_name, describe, names_of, usable
from core.dns import Tlsa
from tests.support.authority import Authority, ders, spki_of

NOW = time.time()
NAMES = ("mx.example.test", "example.test")
ROOT = Authority("root")
MIDDLE = Authority("middle", ROOT)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def chain(*names: str, days: int = 90, issuer: Authority = MIDDLE) -> list[bytes]:
    return ders(issuer.host(*(names or ("mx.example.test",)), days=days)[1])


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_every_selector_and_matching_type_fits_what_it_names(selector: int, matching: int, depth: int) -> None:
    shown = chain()
    data = spki_of(shown[depth]) if selector else shown[depth]
    data = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}[matching]
    record = Tlsa(2 if depth else 3, selector, matching, data)
    assert usable(record)
    assert (
        check_dane([record], shown, NAMES, NOW)
        == f"DANE-{'TA' if depth else 'EE'} {record.usage} {selector} {matching}"
    )


def test_dane_ee_looks_neither_at_the_name_nor_at_the_date() -> None:
    shown = chain("other.test", days=-1)
    check_dane([Tlsa(3, 1, 1, sha(spki_of(shown[0])))], shown, NAMES, NOW)


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        (chain("other.test"), "certificate-host-mismatch"),
        (chain("*.mx.example.test"), "certificate-host-mismatch"),
        (chain(days=-1), "certificate-expired"),
        (chain(issuer=Authority("stranger")), "validation-failure"),
    ],
)
def test_dane_ta_looks_at_name_date_and_path(shown: list[bytes], kind: str) -> None:
    with pytest.raises(ChainRefused) as caught:
        check_dane([Tlsa(2, 0, 1, sha(ROOT.der))], shown, NAMES, NOW)
    assert caught.value.kind == kind


def test_an_authority_that_is_only_shown_beside_the_chain_proves_nothing() -> None:
    shown = [chain(issuer=Authority("stranger"))[0], ROOT.der]
    with pytest.raises(ChainRefused) as caught:
        check_dane([Tlsa(2, 0, 1, sha(ROOT.der))], shown, NAMES, NOW)
    assert caught.value.kind == "certificate-not-trusted"


def test_the_hosts_own_certificate_is_not_its_own_authority() -> None:
    shown = chain()
    with pytest.raises(ChainRefused):
        check_dane([Tlsa(2, 0, 1, sha(shown[0]))], shown, NAMES, NOW)


def test_an_authority_in_the_record_need_not_be_shown() -> None:
    shown = ders(ROOT.host("mx.example.test", alone=True)[1])
    assert len(shown) == 1
    check_dane([Tlsa(2, 0, 0, ROOT.der)], shown, NAMES, NOW)
    check_dane([Tlsa(2, 1, 0, ROOT.spki)], shown, NAMES, NOW)
    with pytest.raises(ChainRefused):
        check_dane([Tlsa(2, 1, 0, MIDDLE.spki)], shown, NAMES, NOW)


def test_one_fitting_record_is_enough() -> None:
    shown = chain()
    wrong = Tlsa(3, 1, 1, bytes(32))
    check_dane([wrong, Tlsa(2, 1, 1, sha(MIDDLE.spki))], shown, NAMES, NOW)
    with pytest.raises(ChainRefused, match="does not match any"):
        check_dane([wrong], shown, NAMES, NOW)


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 0, 1, bytes(32)),
        Tlsa(1, 1, 1, bytes(32)),
        Tlsa(4, 1, 1, bytes(32)),
        Tlsa(255, 1, 1, bytes(32)),
        Tlsa(3, 2, 1, bytes(32)),
        Tlsa(3, 1, 3, bytes(32)),
        Tlsa(3, 1, 1, bytes(31)),
        Tlsa(3, 1, 2, bytes(32)),
        Tlsa(2, 0, 0, b"no certificate"),
        Tlsa(2, 1, 0, b"no key"),
    ],
)
def test_what_is_unknown_or_malformed_is_unusable(record: Tlsa) -> None:
    assert not usable(record)


def test_authorities_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(ROOT.pem)
    check_authorities(chain(), ["mx.example.test"], NOW, str(file))
    check_authorities(chain("*.example.test"), ["mx.example.test"], NOW, str(file))
    for shown, kind in (
        (chain("*.test"), "certificate-host-mismatch"),
        (chain(days=-1), "certificate-expired"),
        (chain(issuer=Authority("stranger")), "certificate-not-trusted"),
        ([], "validation-failure"),
        ([b"junk"], "validation-failure"),
    ):
        with pytest.raises(ChainRefused) as caught:
            check_authorities(shown, ["mx.example.test"], NOW, str(file))
        assert caught.value.kind == kind
    with pytest.raises(ChainRefused):
        check_authorities(chain(), ["mx.example.test"], NOW)


def test_what_is_said_of_a_certificate() -> None:
    assert names_of(chain("a.test", "B.test")[0]) == ("a.test", "b.test")
    assert "CN=mx.example.test, issuer CN=middle, until 2" in describe(chain()[0])
    assert names_of(b"junk") == ()


def test_a_certificate_with_names_that_cannot_be_read_is_refused_like_a_wrong_one(tmp_path: Path) -> None:
    shown = [ROOT.with_extension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3004a3020500"))]
    file = tmp_path / "ca.pem"
    file.write_bytes(ROOT.pem)
    for judge in (
        lambda: check_name(shown, ["mx.example.test"]),
        lambda: check_authorities(shown, ["mx.example.test"], NOW, str(file)),
        lambda: check_dane([Tlsa(2, 0, 0, ROOT.der)], shown, NAMES, NOW),
    ):
        with pytest.raises(ChainRefused):
            judge()
    assert names_of(shown[0]) == ()
