"""TLS towards other mail hosts: contexts that resume sessions, what the peer showed, why a handshake failed.

Used by `core/smtp/client_wire.py`; `client_context` also by whoever makes `TlsSettings`. A session is resumed only
towards the same address, under the same name and the same `TlsSettings.identity` that it was made under, and what the
peer showed then is judged again, since a resumed handshake shows no certificates. Bounded. Logs nothing.

Python gives an application no say over sessions below asyncio; the loops, uvloop's too, make their TLS objects with
`SSLContext.wrap_bio`, which takes a session and is given the server name as it came from us: instead of the name we
give a ticket for it. docs/adr/0008 says what else was tried.
"""

import functools
import hashlib
import itertools
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from core.smtp.client_settings import TlsSettings
from core.smtp.target import Target
from core.tls_rules import WIDE, TlsRules
from protocol.smtp.failure import Stage, TlsError

MOST_SESSIONS = 2_000
"""Sessions kept by a context; one holds a few KiB."""

Key = tuple[str, str, str, int]
"""Identity, name asked for, address, port."""


class Kept(NamedTuple):
    """A session that may be resumed, and the certificates that the peer showed when it was made."""

    session: ssl.SSLSession
    chain: tuple[bytes, ...]


_tickets = itertools.count(1)


class ClientContext(ssl.SSLContext):
    """A context for connections out; remembers sessions."""

    kept: dict[Key, Kept]
    begun: dict[str, tuple[str | None, ssl.SSLSession | None]]
    """By ticket: the name to ask for and the session to resume."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Make the TLS object of a connection; a ticket is replaced by what it stands for."""
        ticket = kwargs.get("server_hostname")
        if ticket in self.begun:
            kwargs["server_hostname"], kwargs["session"] = self.begun.pop(ticket)
        return super().wrap_bio(*args, **kwargs)


OUTBOUND = TlsRules(ciphers=WIDE)


def client_context(
    *,
    verify: bool = False,
    authorities: str = "",
    rules: TlsRules = OUTBOUND,
    own: tuple[str | Path, str | Path] | None = None,
) -> ClientContext:
    """Make a context; `own` certificate and key are shown to hosts that ask for one.

    With `verify` the peer must show a chain to one of the authorities (a PEM file, '' = the system's), for which name
    is up to a `Judge`; else anything will do (RFC 7435). Raises `OSError` (`ssl.SSLError` is one) for files.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    rules.apply(context)
    if own is not None:
        context.load_cert_chain(*own)
    context.kept, context.begun = {}, {}
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify and authorities:
        context.load_verify_locations(authorities)
    elif verify:
        context.load_default_certs()
    return context


@functools.cache
def any_certificate() -> ClientContext:
    """Give the context of opportunistic TLS: encrypted, the peer not verified (RFC 7435)."""
    return client_context()


class Handshake:
    """One handshake: with an earlier session where there is one, and with the last word on what the peer showed."""

    def __init__(self, tls: TlsSettings, target: Target) -> None:
        self.context: ssl.SSLContext = tls.context or any_certificate()
        name = tls.server_name or target.host
        self.name = "" if _is_address(name) else name
        """What the loop is to be given as the server's name."""
        self._tls = tls
        self._key = (tls.identity, self.name, target.address, target.port)
        self._kept: Kept | None = None
        if isinstance(self.context, ClientContext):
            self._kept = self.context.kept.get(self._key)
            ticket = f"{next(_tickets)}.ticket.invalid"
            self.context.begun[ticket] = (self.name or None, self._kept.session if self._kept else None)
            self.name = ticket

    def finish(self, session: ssl.SSLObject) -> tuple[bytes, ...]:
        """Judge what the peer showed, now or when the session was made, and give it. Raises `TlsError`."""
        kept = self._kept
        chain = kept.chain if kept is not None and session.session_reused else shown_chain(session)
        try:
            _check_pinned(self._tls.fingerprints, chain)
            if self._tls.judge is not None:
                self._tls.judge(chain)
        except TlsError:
            self.forget()
            raise
        return chain

    def keep(self, session: ssl.SSLObject, chain: tuple[bytes, ...]) -> None:
        """Remember the session for the next time; called once the peer has answered, tickets come with that."""
        if not isinstance(self.context, ClientContext) or session.session is None or not session.session.has_ticket:
            return
        kept = self.context.kept
        kept.pop(self._key, None)
        while len(kept) >= MOST_SESSIONS:
            del kept[next(iter(kept))]
        kept[self._key] = Kept(session.session, chain)

    def forget(self) -> None:
        """Let go of the session after a failure."""
        if isinstance(self.context, ClientContext):
            self.context.begun.pop(self.name, None)
            self.context.kept.pop(self._key, None)


def shown_chain(session: ssl.SSLObject) -> tuple[bytes, ...]:
    """Give the certificates that the peer sent, in DER form, its own first; only that if there is no more to know."""
    public = getattr(session, "get_unverified_chain", None)
    if public is not None:  # Python 3.13 and later
        return tuple(public())
    inner = getattr(session, "_sslobj", None)
    chain = inner.get_unverified_chain() if inner is not None else None
    if chain:
        return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain)
    own = session.getpeercert(binary_form=True)
    return (own,) if own else ()


def _check_pinned(fingerprints: frozenset[bytes], chain: Sequence[bytes]) -> None:
    """See that the peer's certificate is one of the pinned ones. Raises `TlsError`."""
    if fingerprints and hashlib.sha256(chain[0] if chain else b"").digest() not in fingerprints:
        raise TlsError("the peer's certificate is not the pinned one", Stage.TLS)


_KINDS = {10: "certificate-expired", 9: "certificate-expired", 62: "certificate-host-mismatch"}
"""By verification code of OpenSSL (X509_V_ERR_…)."""


def handshake_failure(problem: Exception) -> TlsError:
    """Say why a handshake failed, with the result type of RFC 8460 4.3.2 where it was the certificate's fault."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        text = f"the peer's certificate is not accepted: {problem.verify_message}"
        return TlsError(text, Stage.TLS, kind=_KINDS.get(problem.verify_code, "certificate-not-trusted"))
    if isinstance(problem, ssl.SSLError):
        return TlsError(f"handshake failed: {problem.reason or problem}", Stage.TLS)
    return TlsError(f"handshake failed: {problem or 'the peer closed the connection'}", Stage.TLS, passing=True)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return not name
    return True
