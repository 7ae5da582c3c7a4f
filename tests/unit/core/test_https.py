"""`core.https`: what is fetched and what is refused, from a real server with a certificate of our own authority."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.dns import Resolver
from core.https import HttpsClient, HttpsError, HttpsSettings
from tests.support.authority import Authority, server_context
from tests.support.dns_server import DnsServer
from tests.support.https_server import HttpsServer

CA = Authority("root")
NAME = "mta-sts.example.test"


@pytest.fixture
async def server() -> AsyncIterator[HttpsServer]:
    async with HttpsServer(server_context(*CA.host(NAME)), body=b"hello") as one:
        yield one


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    records = [f"{name} 300 IN A 127.0.0.1" for name in (f"{NAME}.", "other.test.")]
    async with DnsServer(*records) as one:
        yield one


def client(server: HttpsServer, dns: DnsServer, tmp_path: Path, timeout_s: float = 5) -> HttpsClient:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    settings = HttpsSettings(server.port, str(tmp_path / "ca.pem"), timeout_s)
    return HttpsClient(Resolver([dns.address]), settings)


async def get(one: HttpsClient, host: str = NAME) -> bytes:
    return await one.get(host, "/.well-known/x.txt", media_type="text/plain", most=100)


async def test_a_document_is_fetched_by_its_name(server: HttpsServer, dns: DnsServer, tmp_path: Path) -> None:
    server.headers = {"Content-Type": "Text/Plain; charset=utf-8"}
    assert await get(client(server, dns, tmp_path)) == b"hello"
    line, fields, _ = server.asked[0]
    assert line == "GET /.well-known/x.txt HTTP/1.1"
    assert fields["host"] == f"{NAME}:{server.port}"


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        ("301 Moved", {"Location": "https://other.test/"}, b"", "answered 301"),
        ("404 No", {}, b"", "answered 404"),
        ("200 OK", {"Content-Type": "text/html"}, b"hello", "another type"),
        ("200 OK", {"Content-Type": "text/plain"}, b"x" * 101, "more than 100 octets"),
    ],
)
async def test_what_is_not_the_document_is_refused(
    server: HttpsServer, dns: DnsServer, tmp_path: Path, status: str, headers: dict[str, str], body: bytes, reason: str
) -> None:
    server.status, server.headers, server.body = status, headers, body
    with pytest.raises(HttpsError, match=reason):
        await get(client(server, dns, tmp_path))
    assert len(server.asked) == 1


async def test_a_certificate_for_another_name_is_refused(server: HttpsServer, dns: DnsServer, tmp_path: Path) -> None:
    with pytest.raises(HttpsError) as caught:
        await get(client(server, dns, tmp_path), "other.test")
    assert caught.value.certificate
    assert server.asked == []


async def test_silence_and_unknown_names_are_errors(server: HttpsServer, dns: DnsServer, tmp_path: Path) -> None:
    server.silent = True
    with pytest.raises(HttpsError, match="timeout"):
        await get(client(server, dns, tmp_path, 0.2))
    with pytest.raises(HttpsError, match="NXDomain"):
        await get(client(server, dns, tmp_path), "nowhere.test")


async def test_a_report_is_handed_in(server: HttpsServer, dns: DnsServer, tmp_path: Path) -> None:
    one = client(server, dns, tmp_path)
    await one.post(f"https://{NAME}:{server.port}/in?x=1", b"data", "application/tlsrpt+gzip")
    line, fields, content = server.asked[0]
    assert (line, fields["content-type"], content) == ("POST /in?x=1 HTTP/1.1", "application/tlsrpt+gzip", b"data")
    with pytest.raises(HttpsError, match="not an https URL"):
        await one.post("http://x.test/", b"", "x/y")


@pytest.mark.parametrize("url", ["https://other.test:99999/", "https://other.test:-1/", "https://b\u00fccher.test/"])
async def test_an_address_of_reports_that_no_socket_can_have_ended_the_daemon(
    url: str, server: HttpsServer, dns: DnsServer, tmp_path: Path
) -> None:
    """Anybody's `rua` is such an URL; what the library raised for it was no `HttpsError` and went all the way up."""
    with pytest.raises(HttpsError):
        await client(server, dns, tmp_path).post(url, b"", "x/y")


async def test_whatever_a_library_raises_is_no_document(server: HttpsServer, dns: DnsServer, tmp_path: Path) -> None:
    one = client(server, dns, tmp_path)
    one._settings = HttpsSettings(99_999)  # it raises OverflowError in an exception group
    with pytest.raises(HttpsError):
        await get(one)
