"""Certificates as an operator brings, makes and uses them; OpenSSL is the judge of what was written."""

import ssl
import stat
import subprocess
import time
from pathlib import Path

import pytest

from core.pki import make_server_certificate
from tests.support.appliance import document
from tests.support.authority import Authority
from tests.support.operating import Operating

ROOT = Authority("Test root")
MIDDLE = Authority("Test intermediate", ROOT)


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    machine = Operating(tmp_path, now=time.time)
    (tmp_path / "keys").mkdir()
    (tmp_path / "configuration").mkdir()
    key, certificate = make_server_certificate("esa.example.test")
    (tmp_path / "keys" / "tls.key").write_bytes(key)
    (tmp_path / "keys" / "tls.crt").write_bytes(certificate)
    return machine


def files(machine: Operating, tmp_path: Path, name: str) -> tuple[Path, Path]:
    row = next(one for one in machine.tables()["certificate"] if one["name"] == name)
    return tmp_path / row["certificate"], tmp_path / row["key"]


def openssl(*words: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


async def test_what_is_pasted_is_put_in_order_and_its_key_is_for_nobody_else(
    machine: Operating, tmp_path: Path
) -> None:
    key, chain = MIDDLE.host("esa.example.test")
    result = await machine.ran("certconfig paste mail", stdin=ROOT.pem + chain + key)
    assert result.output.startswith(
        "Certificate mail was taken; pending until `commit`.\nFor esa.example.test; ECDSA secp256r1; until "
    )
    assert "Warning" not in result.output
    certificate, private = files(machine, tmp_path, "mail")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    said = openssl("verify", "-CAfile", tmp_path / "root.pem", "-untrusted", certificate, certificate)
    assert said.strip().endswith(": OK")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private)
    assert "PRIVATE" not in "".join(machine.audit.lines)


async def test_a_request_that_openssl_reads_is_signed_elsewhere_and_taken_with_the_own_key(
    machine: Operating, tmp_path: Path
) -> None:
    result = await machine.ran("certconfig generate mail --names mx.example.test,esa.example.test --key rsa --days 90")
    assert "it is self-signed" in result.output
    request = tmp_path / "configuration" / "mail.csr"
    assert "mx.example.test" in openssl("req", "-in", request, "-noout", "-text", "-verify")
    own, _ = files(machine, tmp_path, "mail")
    authority = tmp_path / "ca"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA", "-keyout", f"{authority}.key", "-out",
            f"{authority}.crt")  # fmt: skip
    signed = tmp_path / "configuration" / "signed.pem"
    openssl("x509", "-req", "-in", request, "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-days", "30",
            "-copy_extensions", "copy", "-out", signed)  # fmt: skip
    result = await machine.ran("certconfig import mail signed.pem --key own")
    assert result.status == 0, result
    assert "the certificate of its issuer (CN=CA) is not with it" in result.output
    now_own, now_private = files(machine, tmp_path, "mail")
    assert now_own != own
    assert openssl("pkey", "-in", now_private, "-pubout") == openssl("x509", "-in", now_own, "-noout", "-pubkey")
    assert own.exists()


async def test_what_does_not_fit_is_refused_and_what_is_hardly_meant_is_told(
    machine: Operating, tmp_path: Path
) -> None:
    key, chain = ROOT.host("www.example.test", days=-1)
    other, _ = ROOT.host("mx.example.test")
    wrong = await machine.ran("certconfig paste mail", stdin=chain + other)
    assert (wrong.status, "does not belong to the certificate" in wrong.error) == (65, True)
    assert (await machine.ran("certconfig paste mail", stdin=chain)).error.endswith("(-----BEGIN PRIVATE KEY-----)")
    assert (await machine.ran("certconfig paste ../mail", stdin=chain + key)).status == 64
    assert not (tmp_path / "keys" / "certificates").exists()
    told = (await machine.ran("certconfig paste mail", stdin=chain + key)).output
    assert "Warning: it has expired" in told
    assert "Warning: it is for www.example.test, not for esa.example.test." in told


async def test_an_encrypted_key_asks_for_its_passphrase_in_the_dialogue(machine: Operating, tmp_path: Path) -> None:
    key, chain = MIDDLE.host("esa.example.test")
    (tmp_path / "open.key").write_bytes(key)
    locked = tmp_path / "locked.key"
    openssl("pkcs8", "-topk8", "-in", tmp_path / "open.key", "-passout", "pass:seven", "-out", locked)
    assert (
        "a passphrase is needed" in (await machine.ran("certconfig paste m", stdin=chain + locked.read_bytes())).error
    )
    pasted = chain.decode().splitlines(), locked.read_text().splitlines()
    shown = await machine.talked("certconfig", "paste", "mail", *pasted[0], ".", *pasted[1], ".", "seven", "")
    assert "Certificate mail was taken; pending" in shown
    assert "BEGIN PRIVATE KEY" in files(machine, tmp_path, "mail")[1].read_text()
    assert "seven" not in "".join(machine.audit.lines)


async def test_what_serves_what_is_chosen_by_name_and_shown(machine: Operating, tmp_path: Path) -> None:
    key, chain = MIDDLE.host("esa.example.test")
    await machine.ran("certconfig paste mail", stdin=chain + key)
    assert (await machine.ran("certconfig setup --receiving nobody")).status == 66
    await machine.talked("certconfig", "setup", "2", "2", "1", "")
    assert machine.tables()["tls"] == {"receiving_certificate": "mail", "delivery_certificate": "mail"}
    rows = document(await machine.ran("certconfig list --json"))["certificates"]
    assert {row["name"]: row["used_for"] for row in rows} == {
        "(keys/tls.crt)": ["https"],
        "mail": ["receiving", "delivery"],
    }
    refused = await machine.ran("certconfig delete mail")
    assert refused.error == "mail serves receiving, delivery; see certconfig setup"
    await machine.ran("certconfig setup --receiving own --delivery none")
    assert (await machine.ran("certconfig delete mail")).status == 0
    assert "certificate" not in machine.tables()
    shown = (await machine.ran("certconfig print")).output
    assert "Names:      esa.example.test" in shown
    assert "PRIVATE" not in shown


async def test_authorities_are_checked_to_be_some(machine: Operating, tmp_path: Path) -> None:
    _, chain = ROOT.host("mx.example.test", alone=True)
    (tmp_path / "configuration" / "host.pem").write_bytes(chain)
    (tmp_path / "configuration" / "ca.pem").write_bytes(ROOT.pem + MIDDLE.pem)
    assert "is no authority" in (await machine.ran("certconfig authorities host.pem")).error
    assert (await machine.ran("certconfig authorities ca.pem")).output.startswith("2 authorities are trusted;")
    assert "CN=Test root until" in (await machine.ran("certconfig list")).output
    await machine.ran("certconfig authorities system")
    assert "delivery_tls" not in machine.tables()
