"""A TLS server context with a certificate made once for the test run."""

import ssl
import tempfile
from functools import cache
from pathlib import Path

from core import pki


@cache
def server_context(hostname: str = "mx.example.test") -> ssl.SSLContext:
    """Give a context that serves as `hostname`."""
    key, certificate = pki.make_server_certificate(hostname)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "chain.pem"
        chain.write_bytes(key + certificate)
        context.load_cert_chain(chain)
    return context
