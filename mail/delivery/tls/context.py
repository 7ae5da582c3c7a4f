"""The two TLS contexts of outbound mail: towards anybody, and towards hosts that must be verified.

Both are replaced together when versions, ciphers or the own certificate change; connections keep what they began with.
Raises `OSError` for files.
"""

from pathlib import Path

from core.smtp.client_tls import OUTBOUND, ClientContext, client_context
from core.tls_rules import TlsRules


class Contexts:
    """The contexts in force."""

    def __init__(self, authorities: str = "", rules: TlsRules = OUTBOUND, own: tuple[Path, Path] | None = None) -> None:
        """`authorities` is a PEM file, '' = the system's; `own` are certificate and key shown to hosts that ask."""
        self.any: ClientContext = client_context(rules=rules, own=own)
        self.verifying: ClientContext = client_context(verify=True, authorities=authorities, rules=rules, own=own)

    def adopt(self, other: "Contexts") -> None:
        """Become what another one is, for all that hold this one."""
        self.any, self.verifying = other.any, other.verifying
