"""A connection between two bastions before it carries octets: TLS contexts, and the protocol that waits for one frame.

Used by `link` and `listener`. A transport whose frame has come is paused, so that nothing is lost until whatever
takes it over is in place.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any

from core.errors import EX_CONFIG, GatepostError
from core.tls import own_context
from tunnel.bastion.peer.message import MessageError, split
from tunnel.config import CaseSection


def contexts(section: CaseSection, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give the contexts for being asked and for asking. Raises status 78 that names the file and the remedy."""
    authority = directory / section.peer_ca
    files = directory / section.peer_certificate, directory / section.peer_key
    try:
        made = own_context(ssl.PROTOCOL_TLS_SERVER, *files), own_context(ssl.PROTOCOL_TLS_CLIENT, *files)
        for context in made:
            context.verify_mode = ssl.CERT_REQUIRED
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise GatepostError(
            f"[bastion] peer_ca, peer_certificate, peer_key ({authority.name}, {files[0].name}, {files[1].name} "
            f"below {directory}): {reason}; `gatepost bastion peer NODE` makes them",
            EX_CONFIG,
        ) from error
    return made


def node_of(transport: Any) -> str:
    """Give the name of the node at the other end, from its certificate."""
    certificate: dict[str, Any] = transport.get_extra_info("peercert") or {}
    names = [str(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return names[0].lower() if names else ""


class FirstFrame(asyncio.Protocol):
    """Collects one frame; `frame` gives its content, `rest` what came behind it."""

    def __init__(self) -> None:
        self.frame: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.rest = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.rest += data
        try:
            found = split(self.rest)
        except MessageError as error:
            self._fail(error)
            self.transport.abort()
            return
        if found is not None and not self.frame.done():
            content, self.rest = found
            self.transport.pause_reading()
            self.frame.set_result(content)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the other bastion closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.frame.done():
            self.frame.set_exception(error)
            self.frame.exception()  # nobody need be waiting

    def hand_over(self, protocol: Any) -> None:
        """Let another protocol have the connection, and what has come already."""
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        rest, self.rest = self.rest, b""
        if rest:
            protocol.data_received(rest)
        self.transport.resume_reading()
