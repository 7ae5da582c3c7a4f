"""TLS with this machine's own certificates: the contexts of SMTP listeners and of the web side.

The quarantine channel makes its contexts, with pinned peers, from `own_context` (cpq/pairing.py).
"""

import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core.errors import ConfigError, Problem
from core.pki import certificate_facts
from core.tls_rules import TlsRules

USUAL = TlsRules()


def own_context(purpose: int, certificate: Path, key: Path, rules: TlsRules = USUAL) -> ssl.SSLContext:
    """Make a context (`ssl.PROTOCOL_TLS_SERVER` or `…_CLIENT`) that shows a certificate.

    Raises `OSError` and `ssl.SSLError` when certificate or key cannot be used.
    """
    context = ssl.SSLContext(purpose)
    rules.apply(context)
    context.load_cert_chain(certificate, key)
    if purpose == ssl.PROTOCOL_TLS_SERVER:
        # Each costs a twentieth of a handshake; who resumes gets a new one. Two are meant for browsers.
        context.num_tickets = 1
    return context


def _plainly(error: Exception) -> str:
    """Say in an operator's words why a pair cannot be used."""
    if isinstance(error, ssl.SSLError):
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        return "the two do not belong together" if mismatch else "one of the two is no PEM file, or damaged"
    return (isinstance(error, OSError) and error.strerror) or str(error)


class ServerCertificate:
    """The certificates that listeners show: one for everybody, others for clients that ask for their names (SNI).

    Raises `ConfigError` naming each file that cannot be used, before any socket opens.
    """

    def __init__(
        self, certificate: Path, key: Path, further: Sequence[tuple[Path, Path]] = (), rules: TlsRules = USUAL
    ) -> None:
        self._rules = rules
        self._pairs = ((certificate, key), *further)
        self.warnings: list[str] = []
        """What is hardly meant with the certificates in force: one that has expired."""
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""
        return self._context

    def adopt(self, other: "ServerCertificate") -> None:
        """Become what another one is, for all that hold this one."""
        self.__dict__.update(other.__dict__)

    def reload(self) -> list[str]:
        """Read all files again and give warnings; connections keep what they have.

        Raises `ConfigError`: then the old ones stay.
        """
        self._context = self._load()
        return self.warnings

    def _load(self) -> ssl.SSLContext:
        contexts: list[ssl.SSLContext] = []
        by_name: dict[str, ssl.SSLContext] = {}
        problems: list[Problem] = []
        warnings: list[str] = []
        for certificate, key in self._pairs:
            try:
                context = own_context(ssl.PROTOCOL_TLS_SERVER, certificate, key, self._rules)
                facts = certificate_facts(certificate.read_bytes())
            except (OSError, ssl.SSLError, ValueError) as error:
                reason = f"not usable with {key.name}: {_plainly(error)}; `gatepost init` makes a pair"
                problems.append(Problem(str(certificate), "", reason))
                continue
            if facts.expires_at < time.time():
                warnings.append(f"{certificate} has expired; peers that verify it will refuse it")
            contexts.append(context)
            for name in facts.names:
                by_name.setdefault(name, context)
        if problems:
            raise ConfigError(problems)
        self.warnings = warnings
        if len(contexts) > 1:
            contexts[0].sni_callback = _chooser(by_name)
        return contexts[0]


def _chooser(by_name: dict[str, ssl.SSLContext]) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Choose by the name that the client asks for (RFC 6066 3); a name that nobody has gets the first certificate."""

    def choose(session: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower().rstrip(".")
        found = by_name.get(wanted) or by_name.get("*." + wanted.partition(".")[2])
        if found is not None:
            session.context = found

    return choose
