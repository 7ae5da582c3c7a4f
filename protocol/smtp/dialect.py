"""One listener's settings compiled once: verb tables, path grammars, line limits, the EHLO answers.

Every conversation of a listener shares one `Dialect`, so that a new connection builds nothing. Made by
`server.make_dialect`, which brings the handlers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocol.reply import Reply
from protocol.smtp.command import PathGrammar
from protocol.smtp.extension import Check
from protocol.smtp.settings import ServerSettings

Handler = Callable[[Any, bytes], None]

BEFORE_TLS: Final = frozenset({"EHLO", "NOOP", "QUIT", "STARTTLS"})


class Dialect:
    """What the machines of one listener have in common. Immutable once made."""

    __slots__ = (
        "_ehlo_clear",
        "_ehlo_secure",
        "helo",
        "line_limits",
        "longest_line",
        "mail",
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
        self.mail = PathGrammar("MAIL", "FROM", "5.1.7", _checks(settings, "mail"), settings)
        self.rcpt = PathGrammar("RCPT", "TO", "5.1.3", _checks(settings, "rcpt"), settings)
        self.helo = Reply(250, "", settings.hostname)
        self._ehlo_clear = _announce(settings, secure=False)
        self._ehlo_secure = _announce(settings, secure=True)

    def ehlo(self, secure: bool) -> Reply:
        """Give the ordinary answer to EHLO."""
        return self._ehlo_secure if secure else self._ehlo_clear


def _checks(settings: ServerSettings, verb: str) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for extension in settings.extensions:
        checks.update(extension.mail if verb == "mail" else extension.rcpt)
    return checks


def _line_limits(settings: ServerSettings) -> dict[bytes, int]:
    """Add up what the extensions allow per verb (RFC 5321 4.5.3.1.4)."""
    base = settings.command_line_limit
    limits = {b"NOOP": base}
    for extension in settings.extensions:
        for verb, octets in extension.allowance.items():
            key = verb.encode("ascii")
            limits[key] = limits.get(key, base) + octets
    limits.update((verb.encode("ascii"), settings.extension_line_limit) for verb in settings.extension_verbs)
    return limits


def _announce(settings: ServerSettings, *, secure: bool) -> Reply:
    """RFC 5321 4.1.1.1; the answers to EHLO and HELO carry no enhanced code (RFC 2034 3)."""
    lines = [extension.announce(settings, secure) for extension in settings.extensions]
    own = settings.extension_keywords if secure or not settings.require_tls else ()
    return Reply(250, "", (settings.hostname, *(line for line in lines if line), *own))
