import ssl
from pathlib import Path

import pytest

from core.errors import EX_CONFIG, GatepostError
from core.pki import make_cpq_certificate
from cpq.pairing import Pairings
from tests.support.quarantine import Machine, certificate, machines


def der(serial: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate(serial)[1].decode())


@pytest.fixture
def sma(tmp_path: Path) -> Machine:
    return machines(tmp_path)[1]


def test_a_peer_is_who_its_certificate_says(sma: Machine) -> None:
    found = sma.pairings.identify(der("ESA-1"))
    assert found is not None
    assert found.serial == "ESA-1"
    assert sma.pairings.identify(der("SMA-1")) is None
    assert sma.pairings.identify(None) is None
    assert sma.pairings.identify(b"") is None


def test_pairings_are_files_that_another_process_sees(sma: Machine, tmp_path: Path) -> None:
    keys = sma.dir / "keys"
    other = Pairings(sma.dir / "pairing", keys / "cpq.key", keys / "cpq.crt")
    assert [one.serial for one in other.all()] == ["ESA-1"]
    before = other.server_context()
    assert other.server_context() is before
    sma.paired_with(Machine(tmp_path / "two", "ESA-2", "esa"))
    other._looked_at = 0.0  # a second later
    assert [one.serial for one in other.all()] == ["ESA-1", "ESA-2"]
    assert other.server_context() is not before
    assert (sma.dir / "pairing/ESA-2.crt").read_bytes() == certificate("ESA-2")[1]
    assert list((sma.dir / "pairing").glob("*.tmp*")) == []


def test_the_contexts_ask_for_certificates_and_know_no_anonymous_cipher(sma: Machine) -> None:
    for context in (sma.pairings.server_context(), sma.pairings.client_context("ESA-1")):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert all("Au=None" not in cipher["description"] for cipher in context.get_ciphers())
    with pytest.raises(KeyError):
        sma.pairings.client_context("nobody")


def test_an_appliance_that_was_removed_is_a_stranger(sma: Machine) -> None:
    sma.pairings.remove("ESA-1")
    assert sma.pairings.identify(der("ESA-1")) is None
    assert sma.pairings.all() == []
    with pytest.raises(KeyError):
        sma.pairings.remove("ESA-1")


def test_only_gives_the_one_management_host(sma: Machine, tmp_path: Path) -> None:
    assert sma.pairings.only("sma") is None
    only = sma.pairings.only("esa")
    assert only is not None
    assert only.serial == "ESA-1"
    sma.paired_with(Machine(tmp_path / "two", "ESA-2", "esa"))
    assert sma.pairings.only("esa") is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"serial": "ESA-1"}'])
def test_a_damaged_pairing_is_named_and_the_others_work(sma: Machine, tmp_path: Path, damage: bytes) -> None:
    sma.paired_with(Machine(tmp_path / "two", "ESA-2", "esa"))
    (sma.dir / "pairing/ESA-1.json").write_bytes(damage)
    sma.pairings._looked_at = 0.0  # a second later
    assert [one.serial for one in sma.pairings.all()] == ["ESA-2"]
    (fault,) = sma.pairings.faults
    assert "ESA-1.json" in fault
    assert "pair the appliance again" in fault


def test_a_file_under_another_serial_is_not_believed(sma: Machine) -> None:
    (sma.dir / "pairing/ESA-1.json").rename(sma.dir / "pairing/ESA-2.json")
    sma.pairings._looked_at = 0.0  # a second later
    assert sma.pairings.all() == []


def test_a_serial_that_is_no_file_name_is_refused(sma: Machine, tmp_path: Path) -> None:
    import dataclasses

    (one,) = sma.pairings.all()
    for serial in ("../x", "", ".hidden", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="not a serial"):
            sma.pairings.add(dataclasses.replace(one, serial=serial))


def test_an_own_key_that_cannot_be_used_is_a_fault_of_the_configuration(sma: Machine) -> None:
    (sma.dir / "keys/cpq.key").write_bytes(b"no key")
    with pytest.raises(GatepostError) as caught:
        sma.pairings.server_context()
    assert caught.value.status == EX_CONFIG


def test_the_own_certificate_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    key, own = make_cpq_certificate("A" * 20 + "-" + "B" * 12)
    (tmp_path / "cpq.key").write_bytes(key)
    (tmp_path / "cpq.crt").write_bytes(own)
    pairings = Pairings(tmp_path / "pairing", tmp_path / "cpq.key", tmp_path / "cpq.crt")
    before = pairings.server_context()
    (tmp_path / "cpq.key").write_text("nothing")
    with pytest.raises(GatepostError, match="cannot be used"):
        pairings.reload()
    assert pairings.server_context() is before
    (tmp_path / "cpq.key").write_bytes(key)
    assert pairings.reload() == []
    assert pairings.server_context() is not before
