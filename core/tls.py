"""TLS for listeners: one server context made from this machine's certificate.

The quarantine channel has its own contexts with pinned peers (cpq/pairing.py). Raises `ConfigError` naming the file
when certificate or key cannot be used, before any socket opens.
"""

import ssl
from pathlib import Path

from core.errors import ConfigError, Problem


class ServerCertificate:
    """The certificate that listeners show, TLS 1.2 and later."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL")
        try:
            self._context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            reason = f"not usable with {key.name}: {error}; `gatepost init` makes a pair"
            raise ConfigError([Problem(str(certificate), "", reason)]) from error

    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""
        return self._context
