"""core.pki: certificates that OpenSSL really accepts as their own anchor, fingerprints, serial numbers."""

import asyncio
import base64
import hashlib
import re
import ssl
from pathlib import Path

import pytest

from core import pki


def _context(purpose: ssl.Purpose, own: tuple[bytes, bytes], trusted: list[bytes], folder: Path) -> ssl.SSLContext:
    key, certificate = own
    name = hashlib.sha256(certificate).hexdigest()[:8]
    (folder / f"{name}.key").write_bytes(key)
    (folder / f"{name}.crt").write_bytes(certificate)
    context = ssl.create_default_context(purpose)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    context.load_verify_locations(cadata=b"".join(trusted).decode())
    return context


async def test_two_machines_with_the_same_serial_are_both_trusted(tmp_path: Path) -> None:
    """Without key identifiers OpenSSL would stop at the first certificate with that subject."""
    old, new = pki.make_cpq_certificate("SN-1"), pki.make_cpq_certificate("SN-1")
    server = pki.make_cpq_certificate("SN-2")
    context = _context(ssl.Purpose.CLIENT_AUTH, server, [old[1], new[1]], tmp_path)
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        seen.append(pki.fingerprint(peer))
        writer.write(b"ok")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    for own in (old, new):
        client = _context(ssl.Purpose.SERVER_AUTH, own, [server[1]], tmp_path)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        assert await reader.read() == b"ok"
        writer.close()
        await writer.wait_closed()
    listener.close()
    assert seen == [pki.fingerprint(old[1]), pki.fingerprint(new[1])]


async def test_server_certificate_verifies_for_its_host_name_only(tmp_path: Path) -> None:
    own = pki.make_server_certificate("esa.example.test")
    (tmp_path / "k").write_bytes(own[0])
    (tmp_path / "c").write_bytes(own[1])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    client = ssl.create_default_context(cadata=own[1].decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="esa.example.test")
    writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="other.example.test")
    listener.close()


def test_fingerprint_is_the_same_for_pem_and_der() -> None:
    _, pem = pki.make_cpq_certificate("SN-1")
    der = pki.certificate_der(pem)
    digest = base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    assert pki.fingerprint(pem) == pki.fingerprint(der) == "SHA256:" + digest


def test_common_name_is_the_serial() -> None:
    _, pem = pki.make_cpq_certificate("564D00AABBCCDDEEFF00-0123456789AB")
    assert pki.certificate_serial(pem) == "564D00AABBCCDDEEFF00-0123456789AB"


def test_not_a_certificate_is_a_value_error() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is OpenSSL's
        pki.fingerprint(b"nothing")


def test_serials_have_the_shapes_of_the_model() -> None:
    assert re.fullmatch(r"[0-9A-F]{12}-[0-9A-Z]{7}", pki.new_serial(hardware=True))
    assert re.fullmatch(r"[0-9A-F]{20}-[0-9A-F]{12}", pki.new_serial())
    assert pki.new_serial() != pki.new_serial()


@pytest.mark.parametrize("serial", [pki.new_serial(), pki.new_serial(hardware=True)], ids=["virtual", "hardware"])
def test_user_name_is_lower_case_and_still_a_serial(serial: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", pki.user_name(serial))
    assert pki.is_serial(pki.user_name(serial))


@pytest.mark.parametrize("text", ["", "*", "SN-1", "564D00AABBCCDDEEFF00", "564D00AABBCCDDEEFF00-0123456789AB\n"])
def test_other_texts_are_not_serials(text: str) -> None:
    assert not pki.is_serial(text)


async def test_an_authority_issues_certificates_for_both_ends_and_only_with_its_own_key(tmp_path: Path) -> None:
    key, authority = pki.make_authority("gatepost bastions")
    north, south = (pki.issue_certificate(key, authority, name) for name in ("north", "south"))
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(pki.certificate_serial(writer.get_extra_info("ssl_object").getpeercert(binary_form=True)))
        writer.close()

    server = _context(ssl.Purpose.CLIENT_AUTH, north, [authority], tmp_path)
    client = _context(ssl.Purpose.SERVER_AUTH, south, [authority], tmp_path)
    client.check_hostname = True
    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="north")
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="south")
    listener.close()
    assert seen == ["south"]
    with pytest.raises(ValueError, match="do not belong together"):
        pki.issue_certificate(pki.make_authority("gatepost bastions")[0], authority, "north")
