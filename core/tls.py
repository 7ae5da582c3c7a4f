"""TLS with this machine's own certificate: versions and ciphers for every port, the context of SMTP listeners.

The quarantine channel makes its contexts, with pinned peers, from `own_context` (cpq/pairing.py).
"""

import ssl
from pathlib import Path

from core.errors import ConfigError, Problem

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
"""Of TLS 1.2; those of TLS 1.3 are all fit. Anonymous ones would let a peer pass without a certificate."""


def own_context(purpose: int, certificate: Path, key: Path) -> ssl.SSLContext:
    """Make a context (`ssl.PROTOCOL_TLS_SERVER` or `…_CLIENT`) that shows a certificate, TLS 1.2 and later.

    Raises `OSError` and `ssl.SSLError` when certificate or key cannot be used.
    """
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.load_cert_chain(certificate, key)
    return context


class ServerCertificate:
    """The certificate that listeners show. Raises `ConfigError` naming the file before any socket opens."""

    def __init__(self, certificate: Path, key: Path) -> None:
        try:
            self._context = own_context(ssl.PROTOCOL_TLS_SERVER, certificate, key)
        except (OSError, ssl.SSLError) as error:
            reason = f"not usable with {key.name}: {error}; `gatepost init` makes a pair"
            raise ConfigError([Problem(str(certificate), "", reason)]) from error

    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""
        return self._context
