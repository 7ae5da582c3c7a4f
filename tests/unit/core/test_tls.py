"""The certificate that listeners show."""

import contextlib
import ssl
from pathlib import Path

import pytest

from core.errors import EX_CONFIG, ConfigError
from core.pki import make_server_certificate
from core.tls import ServerCertificate, own_context


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = make_server_certificate("mx.example.test")
    (tmp_path / "tls.key").write_bytes(key)
    (tmp_path / "tls.crt").write_bytes(certificate)
    return tmp_path / "tls.crt", tmp_path / "tls.key"


@pytest.mark.parametrize("purpose", [ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT])
def test_old_versions_and_ciphers_without_certificate_or_forward_secrecy_are_off(
    files: tuple[Path, Path], purpose: int
) -> None:
    context = own_context(purpose, *files)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    ciphers = [cipher["description"] for cipher in context.get_ciphers()]
    assert ciphers
    assert all(("Kx=ECDH" in one or "TLSv1.3" in one) and "Au=None" not in one for one in ciphers)


def _handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[int, ssl.SSLObject]:
    """Shake hands in memory; give the octets that the server sends after it, and the client's end."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(up, down, server_side=True)
    ours = client.wrap_bio(down, up, session=session)
    for end in (ours, theirs, ours):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    theirs.do_handshake()
    after = down.pending
    theirs.write(b"250 hello")
    assert ours.read(100) == b"250 hello"
    return after, ours


def test_one_ticket_comes_with_a_handshake_and_resumes_the_session(files: tuple[Path, Path]) -> None:
    server, client = own_context(ssl.PROTOCOL_TLS_SERVER, *files), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    sent, first = _handshake(server, client, None)
    assert not first.session_reused
    server.num_tickets = 2
    twice, _ = _handshake(server, client, None)
    assert sent * 2 == twice
    server.num_tickets = 1
    assert _handshake(server, client, first.session)[1].session_reused


def test_every_handshake_has_the_context(files: tuple[Path, Path]) -> None:
    certificate = ServerCertificate(*files)
    assert certificate.context() is certificate.context()


def test_a_bad_pair_leaves_the_old_context_in_place(files: tuple[Path, Path]) -> None:
    certificate = ServerCertificate(*files)
    before = certificate.context()
    files[1].write_text("nothing")
    with pytest.raises(ConfigError):
        certificate.reload()
    assert certificate.context() is before
    key, made = make_server_certificate("mx.example.test")
    files[1].write_bytes(key)
    files[0].write_bytes(made)
    assert certificate.reload() == []
    assert certificate.context() is not before


def test_an_expired_certificate_is_used_and_warned_of(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.tls.time.time", lambda: 5e9)
    assert ["has expired" in warning for warning in ServerCertificate(*files).warnings] == [True]


def test_a_key_that_is_not_the_certificates_is_a_fault_of_the_configuration(files: tuple[Path, Path]) -> None:
    files[1].write_bytes(make_server_certificate("mx.example.test")[0])
    with pytest.raises(ConfigError, match=r"tls\.crt.*not usable with tls\.key.*gatepost init") as caught:
        ServerCertificate(*files)
    assert caught.value.status == EX_CONFIG
    assert "the two do not belong together" in caught.value.text
    files[0].write_text("broken")
    with pytest.raises(ConfigError, match="one of the two is no PEM file, or damaged"):
        ServerCertificate(*files)
