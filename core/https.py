"""HTTPS to other people's servers: small documents in, reports out.

Called by delivery (MTA-STS policies, RFC 8461 3.3; TLS reports, RFC 8460 5.4). The only module that knows httpx2. The
name is looked up with our own resolver, the certificate is checked against it, redirects are not followed, no proxy
and no environment is asked. Raises `HttpsError`. Logs nothing.
"""

import asyncio
import functools
import ssl
from dataclasses import dataclass
from typing import NamedTuple

import httpx2

from core.dns import DnsError, Resolver

_CONNECT_S = 15.0
_MOST_ADDRESSES = 3


class HttpsError(Exception):
    """No document; `certificate` tells that the server's certificate was the reason."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


@dataclass(frozen=True)
class HttpsSettings:
    """What is the same for all requests."""

    port: int = 443
    authorities: str = ""
    """PEM file, '' = the system's."""
    timeout_s: float = 60.0


class _Request(NamedTuple):
    method: str
    host: str
    port: int
    path: str
    content: bytes | None
    media_type: str
    """Of what is sent, or of what must be answered."""
    most: int

    @property
    def named(self) -> str:
        """The Host header."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"


class HttpsClient:
    """Makes one request at a time per call; nothing is kept open."""

    def __init__(self, resolver: Resolver, settings: HttpsSettings) -> None:
        self._resolver = resolver
        self._settings = settings

    async def get(self, host: str, path: str, *, media_type: str, most: int) -> bytes:
        """Fetch a document of a media type, of at most `most` octets. Raises `HttpsError`."""
        return await self._send(_Request("GET", host, self._settings.port, path, None, media_type, most))

    async def post(self, url: str, content: bytes, media_type: str) -> None:
        """Hand in a document at an https URL. Raises `HttpsError`."""
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as problem:
            raise HttpsError(f"not a URL: {problem}") from problem
        if parsed.scheme != "https" or not parsed.host:
            raise HttpsError("not an https URL")
        port = 443 if parsed.port is None else parsed.port
        if not 0 < port < 65_536:
            raise HttpsError(f"not a URL: there is no port {port}")
        host, path = parsed.raw_host.decode("ascii"), parsed.raw_path.decode("ascii")
        await self._send(_Request("POST", host, port, path, content, media_type, 65_536))

    async def _send(self, request: _Request) -> bytes:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                found = (await self._resolver.addresses(request.host)).records
                last: HttpsError | None = None
                for address in sorted(found, key=lambda text: ":" in text)[:_MOST_ADDRESSES]:
                    try:
                        return await self._send_to(address, request)
                    except httpx2.ConnectError as problem:
                        last = _failure(problem)
                raise last or HttpsError("no address")
        except TimeoutError as problem:
            raise HttpsError(f"timeout: no answer within {self._settings.timeout_s:g} seconds") from problem
        except DnsError as problem:
            raise HttpsError(f"looking up {problem.name} ({problem.kind}): {problem.reason}") from problem
        except HttpsError:
            raise
        except Exception as problem:  # names, addresses and every octet are other people's: whatever the library raises
            raise _failure(problem) from problem

    async def _send_to(self, address: str, request: _Request) -> bytes:
        literal = f"[{address}]" if ":" in address else address
        headers = {"Host": request.named, "Accept-Encoding": "identity"}
        if request.content is not None:
            headers["Content-Type"] = request.media_type
        async with (
            httpx2.AsyncClient(
                verify=_context(self._settings.authorities),
                trust_env=False,
                follow_redirects=False,
                timeout=httpx2.Timeout(None, connect=_CONNECT_S),
            ) as client,
            client.stream(
                request.method,
                f"https://{literal}:{request.port}{request.path}",
                headers=headers,
                content=request.content,
                extensions={"sni_hostname": request.host},
            ) as response,
        ):
            fits = response.is_success if request.method == "POST" else response.status_code == 200
            if not fits:
                raise HttpsError(f"the server answered {response.status_code}")
            given = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method == "GET" and given != request.media_type:
                raise HttpsError(f"the server sent another type than {request.media_type}")
            return await _body(response, request.most)


async def _body(response: httpx2.Response, most: int) -> bytes:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            raise HttpsError(f"the server sent more than {most} octets")
    return body


def _failure(problem: Exception) -> HttpsError:
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HttpsError(f"the server's certificate is not accepted: {cause.verify_message}", certificate=True)
        cause = cause.__cause__ or cause.__context__
    text = str(problem) or type(problem).__name__
    return HttpsError(text, certificate="CERTIFICATE_VERIFY_FAILED" in text)


@functools.cache
def _context(authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
