"""The arguments of SMTP commands: bytes to values, or the reply that refuses them.

Called by the server machine. Source: RFC 5321 4.1.1 and 4.1.2, RFC 3030 2 for BDAT. Every parser either returns
its value or raises `CommandError`; none knows the state of the conversation.
"""

import re
from collections.abc import Mapping
from typing import Final

from protocol.address import AddressError, Path, parse_path, split_path
from protocol.reply import Reply
from protocol.smtp.parameter import Check
from protocol.smtp.settings import ServerSettings

_NAME: Final = re.compile(rb"[A-Za-z0-9_.:\[\]-]{1,255}")
_TEXT: Final = re.compile(rb"[\x20-\x7e]*")
_PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
_PARAMETER_UTF8: Final = re.compile(rb"(ORCPT)=([!-<>-~\x80-\xff]+)", re.IGNORECASE)
"""The one value that UTF-8 may stand in (RFC 6533 3)."""
_CHUNK: Final = re.compile(rb"([0-9]{1,19})(?: +([Ll][Aa][Ss][Tt]))?")
CHUNK_MAX: Final = 2**63 - 1

_BAD_PARAMETER: Final = Reply(501, "5.5.4", "Bad parameter")
_TWICE: Final = Reply(501, "5.5.4", "Parameter given twice")
_BAD_TEXT: Final = Reply(501, "5.5.4", "Only printable ASCII is allowed in a command")
_NEEDS_UTF8: Final = Reply(553, "5.6.7", "Address needs SMTPUTF8")  # RFC 6531 3.5 and 3.7.4.2
_SYNTAX_BDAT: Final = Reply(501, "5.5.4", "Syntax: BDAT octets [LAST]")


class CommandError(Exception):
    """An argument that is refused, with the reply to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class PathGrammar:
    """How one verb writes its path: the word before the colon, its parameters, its status for a bad address."""

    __slots__ = ("_bad", "_checks", "_settings", "_syntax", "_word")

    def __init__(
        self, verb: str, word: str, status: str, checks: Mapping[str, Check], settings: ServerSettings
    ) -> None:
        self._word = f"{word}:".encode("ascii")
        self._checks = checks
        self._settings = settings
        self._syntax = Reply(501, "5.5.4", f"Syntax: {verb} {word}:<address>")
        self._bad = {
            "syntax": Reply(501, status, "Bad address"),
            "length": Reply(553, status, "Address too long"),
            "utf8": _NEEDS_UTF8,
        }

    def parse(self, argument: bytes, *, utf8: bool = False) -> tuple[Path, dict[str, str | None]]:
        """Read `FROM:<path> parameters`; one space after the colon is tolerated. Raises `CommandError`.

        `utf8`: the transaction is one of RFC 6531; for MAIL its own parameter says so.
        """
        word = self._word
        if argument[: len(word)].upper() != word:
            raise CommandError(self._syntax)
        rest = argument[len(word) :]
        cut = split_path(rest[1:] if rest[:1] == b" " else rest)
        if cut is None:
            raise CommandError(self._syntax)
        parameters = self._parameters(cut[1], utf8) if cut[1] else {}
        try:
            path = parse_path(
                cut[0], smtputf8=utf8 or "SMTPUTF8" in parameters, partial=self._settings.partial_addresses
            )
        except AddressError as error:
            raise CommandError(self._bad[error.kind]) from None
        return path, parameters

    def _parameters(self, text: bytes, utf8: bool) -> dict[str, str | None]:
        if text[:1] != b" ":
            raise CommandError(self._syntax)
        given: dict[str, str | None] = {}
        for word in filter(None, text.split(b" ")):
            key, value = _split_parameter(word, utf8)
            check = self._checks.get(key)
            if check is None:  # RFC 5321 4.1.1.11
                raise CommandError(Reply(555, "5.5.4", f"Parameter not recognized: {key}"))
            if key in given:
                raise CommandError(_TWICE)
            given[key] = value
            refused = check(value, self._settings)
            if refused is not None:
                raise CommandError(refused)
        return given


def _split_parameter(word: bytes, utf8: bool) -> tuple[str, str | None]:
    """Cut `KEY=value` in two, the key in upper case. Raises `CommandError`."""
    found = _PARAMETER.fullmatch(word)
    if found is None and utf8:
        found = _PARAMETER_UTF8.fullmatch(word)
    if found is None:
        raise CommandError(_BAD_PARAMETER)
    value = found[2]
    try:
        return found[1].decode("ascii").upper(), None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError(_BAD_PARAMETER) from None


def parse_name(argument: bytes, syntax: Reply) -> str:
    """Read the name a client gives itself: a domain, a literal, or what passes for one. Raises `CommandError`."""
    if _NAME.fullmatch(argument) is None:
        raise CommandError(syntax)
    return argument.decode("ascii")


def parse_text(argument: bytes) -> str:
    """Read free text: printable ASCII. Raises `CommandError` for anything else."""
    if _TEXT.fullmatch(argument) is None:
        raise CommandError(_BAD_TEXT)
    return argument.decode("ascii")


def parse_search(argument: bytes) -> str:
    """Read what VRFY asks about: text, in UTF-8 only with `SMTPUTF8` behind it. Raises `CommandError`."""
    if argument.isascii():
        return parse_text(argument)
    name, mark, keyword = argument.rpartition(b" ")
    if not mark or keyword.upper() != b"SMTPUTF8":
        raise CommandError(_NEEDS_UTF8)
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError(_BAD_TEXT) from None
    if not text.isprintable():
        raise CommandError(_BAD_TEXT)
    return text


def parse_chunk(argument: bytes) -> tuple[int, bool]:
    """Read the size of a chunk and whether it is the last. Raises `CommandError`."""
    found = _CHUNK.fullmatch(argument)
    octets = int(found[1]) if found else CHUNK_MAX + 1
    if found is None or octets > CHUNK_MAX:
        raise CommandError(_SYNTAX_BDAT)
    return octets, found[2] is not None
