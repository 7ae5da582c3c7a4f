"""One listener's settings compiled once: verb tables, path grammars, line limits, the EHLO answers.

Every conversation of a listener shares one `Dialect`, so that a new connection builds nothing. Made by
`server.make_dialect`, which brings the handlers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocol.reply import Reply
from protocol.smtp.command import PathGrammar
from protocol.smtp.extension import Extension
from protocol.smtp.parameter import Check
from protocol.smtp.settings import ServerSettings

Handler = Callable[[Any, bytes], None]

BEFORE_TLS: Final = frozenset({"EHLO", "NOOP", "QUIT", "STARTTLS"})


class Dialect:
    """What the machines of one listener have in common. Immutable once made."""

    __slots__ = (
        "_ehlo",
        "helo",
        "line_limits",
        "longest_line",
        "mail_clear",
        "mail_secure",
        "rcpt",
        "settings",
        "verbs_clear",
        "verbs_secure",
    )

    def __init__(
        self,
        settings: ServerSettings,
        verbs: Mapping[str, Handler],
        tls_first: Handler,
        extension: Callable[[str], Handler],
    ) -> None:
        self.settings = settings
        table = {**verbs, **{verb: extension(verb) for verb in settings.extension_verbs}}
        self.verbs_secure = {verb.encode("ascii"): handler for verb, handler in table.items()}
        self.verbs_clear = dict(self.verbs_secure)
        if settings.require_tls:
            barred = {verb for verb in table if verb not in BEFORE_TLS}
            self.verbs_clear.update((verb.encode("ascii"), tls_first) for verb in barred)
        self.line_limits = _line_limits(settings)
        self.longest_line = max(self.line_limits.values(), default=settings.command_line_limit)
        self.mail_clear = PathGrammar("MAIL", "FROM", "5.1.7", _checks(settings, "mail", secure=False), settings)
        self.mail_secure = PathGrammar("MAIL", "FROM", "5.1.7", _checks(settings, "mail", secure=True), settings)
        self.rcpt = PathGrammar("RCPT", "TO", "5.1.3", _checks(settings, "rcpt", secure=True), settings)
        self.helo = Reply(250, "", settings.hostname)
        self._ehlo: dict[tuple[bool, frozenset[str]], Reply] = {}

    def ehlo(self, secure: bool, withheld: frozenset[str] = frozenset()) -> Reply:
        """Give the ordinary answer to EHLO, without what is withheld from this peer."""
        key = secure, withheld
        reply = self._ehlo.get(key)
        if reply is None:
            reply = self._ehlo[key] = _announce(self.settings, secure, withheld)
        return reply


def _offered(settings: ServerSettings, secure: bool) -> list[tuple[Extension, str]]:
    """Pair the extensions that are announced now with their lines."""
    pairs = [(extension, extension.announce(settings, secure)) for extension in settings.extensions]
    return [(extension, line) for extension, line in pairs if line]


def _checks(settings: ServerSettings, verb: str, *, secure: bool) -> dict[str, Check]:
    """Collect the parameters of a verb: what is not announced is not understood (RFC 5321 4.1.1.11)."""
    checks: dict[str, Check] = {}
    for extension, _ in _offered(settings, secure):
        checks.update(extension.mail if verb == "mail" else extension.rcpt)
    return checks


def _line_limits(settings: ServerSettings) -> dict[bytes, int]:
    """Add up what the extensions allow per verb (RFC 5321 4.5.3.1.4)."""
    base = settings.command_line_limit
    limits = {b"NOOP": base}
    for extension, _ in _offered(settings, secure=True):
        for verb, octets in extension.allowance.items():
            key = verb.encode("ascii")
            limits[key] = limits.get(key, base) + octets
    limits.update((verb.encode("ascii"), settings.extension_line_limit) for verb in settings.extension_verbs)
    return limits


def _announce(settings: ServerSettings, secure: bool, withheld: frozenset[str]) -> Reply:
    """RFC 5321 4.1.1.1; the answers to EHLO and HELO carry no enhanced code (RFC 2034 3)."""
    lines = [line for _, line in _offered(settings, secure) if line.partition(" ")[0] not in withheld]
    own = settings.extension_keywords if secure or not settings.require_tls else ()
    return Reply(250, "", (settings.hostname, *lines, *own))
