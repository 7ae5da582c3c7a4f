"""Mail addresses as SMTP writes them: reverse-path, forward-path, domains and address literals.

The server machine and sessions parse with it, the client machine and the mail code take `Path.text`, which is the
form an address is kept in everywhere. Source: RFC 5321 4.1.2, 4.1.3, 4.5.3.1; dots in a local part are not
special and an underscore may stand in a domain, as the model appliances have it.
Raises `AddressError` only; knows no policy (what a partial address is completed with, who may relay).
"""

import ipaddress
import re
import unicodedata
from typing import Final, Literal, NamedTuple

LOCAL_LIMIT: Final = 64
DOMAIN_LIMIT: Final = 255
PATH_LIMIT: Final = 256
"""Octets of a path with its brackets (RFC 5321 4.5.3.1.3)."""

_LABEL: Final = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN: Final = _LABEL + rb"(?:\." + _LABEL + rb")*"
_ATOMS: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]"
_LITERAL: Final = rb"\[[\x21-\x5a\x5e-\x7e]+\]"

_PLAIN: Final = re.compile(rb"<(" + _ATOMS + rb"{1,64})@(" + _DOMAIN + rb")>")
_ROUTE: Final = re.compile(rb"@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:")
_SPAN: Final = re.compile(rb'<(?:[^<>"\\]|"(?:[^"\\]|\\.)*")*>')
_LOCAL: Final = re.compile(_ATOMS + rb'+|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"')
_LOCAL_UTF8: Final = re.compile(
    rb"(?:" + _ATOMS + rb'|[\x80-\xff])+|"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
)
_HOST: Final = re.compile(_DOMAIN)
_LABEL_TEXT: Final = re.compile(_LABEL.decode("ascii"))
_LETTERS: Final = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})
"""Categories of what RFC 5892 allows in a label that is in lower case and normal form."""
_IN_CONTEXT: Final = "\u00b7\u0375\u05f3\u05f4\u200c\u200d\u30fb"
"""What it allows besides, in some contexts."""
_UNWRITABLE: Final = re.compile(r"[\x80-\xa0\u2028-\u202e\u2066-\u2069]")
"""Characters that end lines, look like a space or turn text round: in no address."""
_LABEL_LIMIT: Final = 63
_BRACKETED: Final = re.compile(_LITERAL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class AddressError(ValueError):
    """A path that is refused; `kind` says which reply fits: `syntax`, `length` or `utf8` (RFC 6531 needed)."""

    def __init__(self, reason: str, kind: Literal["syntax", "length", "utf8"] = "syntax") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class Path(NamedTuple):
    """One address: `local` as written (quotes kept), `domain` in lower case and A-labels, `text` as it was given.

    `text` is `local@domain` without brackets and source route, '' for `<>`, `local` alone for `<postmaster>`.
    """

    local: str
    domain: str
    text: str

    @property
    def mailbox(self) -> str:
        """The local part by meaning, for tables to compare."""
        return unquoted(self.local)


NULL_PATH: Final = Path("", "", "")


def unquoted(local: str) -> str:
    """Give a local part by meaning: `"joe"` and `joe` are the same mailbox (RFC 5321 4.1.2)."""
    return _ESCAPE.sub(r"\1", local[1:-1]) if local.startswith('"') else local


def split_path(argument: bytes) -> tuple[bytes, bytes] | None:
    """Cut `<path> parameters` into the path with its brackets and the rest; None when there is no path.

    A quoted local part may hold spaces and brackets, so the end is not simply the first `>`.
    """
    found = _SPAN.match(argument)
    return None if found is None else (found[0], argument[found.end() :])


def parse_path(text: bytes, *, smtputf8: bool = False, partial: bool = False) -> Path:
    """Read one bracketed path, `<>` included; `<postmaster>` needs no domain, `partial` allows any without.

    Raises `AddressError`.
    """
    found = _PLAIN.fullmatch(text)
    if found is None or len(text) > PATH_LIMIT or found.end(2) - found.start(2) > DOMAIN_LIMIT:
        return NULL_PATH if text == b"<>" else _parse_any(text, smtputf8, partial)
    plain = text[1:-1].decode("ascii")
    cut = found.end(1) - 1
    return Path(plain[:cut], plain[cut + 1 :].lower(), plain)


def _parse_any(text: bytes, smtputf8: bool, partial: bool) -> Path:
    inner = _unwrap(text, smtputf8)
    found = (_LOCAL_UTF8 if smtputf8 else _LOCAL).match(inner)
    if found is None:
        raise AddressError("bad local part")
    local, rest = found[0], inner[found.end() :]
    if len(local) > LOCAL_LIMIT:
        raise AddressError(f"local part longer than {LOCAL_LIMIT} octets", "length")
    if not rest:
        return _without_domain(local, partial)
    if rest[:1] != b"@":
        raise AddressError("bad local part")
    domain = rest[1:]
    _check_domain(domain, smtputf8)
    if len(local) + len(domain) + 3 > PATH_LIMIT:
        raise AddressError(f"path longer than {PATH_LIMIT} octets", "length")
    local_text, domain_text = local.decode(), domain.decode()
    return Path(local_text, _ascii_domain(domain_text), f"{local_text}@{domain_text}")


def _ascii_domain(domain: str) -> str:
    try:
        name = to_ascii(domain)
    except ValueError as error:
        raise AddressError(str(error)) from None
    if len(name) > DOMAIN_LIMIT:
        raise AddressError(f"domain longer than {DOMAIN_LIMIT} octets", "length")
    return name


def to_ascii(domain: str) -> str:
    """Give a domain in lower case with A-labels, as DNS and TLS know it (RFC 5891 4.4). Raises `ValueError`.

    Labels are taken as U-labels are written: nothing is mapped but case and normal form (RFC 5895 2.1, 2.3).
    """
    if domain.isascii():
        return domain.lower()
    return ".".join(map(_a_label, unicodedata.normalize("NFC", domain.lower()).split(".")))


def _a_label(label: str) -> str:
    if label.isascii():
        if not _LABEL_TEXT.fullmatch(label):
            raise ValueError("bad domain")
        return label
    for character in label:
        if not (
            unicodedata.category(character) in _LETTERS
            or character in _IN_CONTEXT
            or (character.isascii() and (character.isalnum() or character in "-_"))
        ):
            raise ValueError("a character that no domain may hold")
    hyphen = label[0] == "-" or label[-1] == "-" or label[2:4] == "--"
    if hyphen or unicodedata.category(label[0])[0] == "M":
        raise ValueError("bad domain")
    encoded = "xn--" + label.encode("punycode").decode("ascii")
    if len(encoded) > _LABEL_LIMIT:
        raise ValueError("a label of the domain is too long")
    return encoded


def _unwrap(text: bytes, smtputf8: bool) -> bytes:
    """Take off the brackets and a source route, which is accepted and ignored (RFC 5321 4.1.1.3 and C)."""
    if len(text) < 3 or text[:1] != b"<" or text[-1:] != b">":
        raise AddressError("the address must stand in angle brackets")
    inner = text[1:-1]
    if not inner.isascii():
        _check_utf8(inner, smtputf8)
    route = _ROUTE.match(inner)
    return inner[route.end() :] if route else inner


def _check_utf8(inner: bytes, smtputf8: bool) -> None:
    try:
        text = inner.decode("utf-8")
    except UnicodeDecodeError:
        raise AddressError("not UTF-8") from None
    if not smtputf8:
        raise AddressError("the address needs SMTPUTF8", "utf8")  # RFC 6531 3.5
    if _UNWRITABLE.search(text):
        raise AddressError("a character that no address may hold")


def _without_domain(local: bytes, partial: bool) -> Path:
    """Accept `postmaster` (RFC 5321 4.1.1.3), and any name where a default domain will be added."""
    text = local.decode()
    if partial or text.lower() == "postmaster":
        return Path(text, "", text)
    raise AddressError("domain missing")


def _check_domain(domain: bytes, smtputf8: bool) -> None:
    if len(domain) > DOMAIN_LIMIT:
        raise AddressError(f"domain longer than {DOMAIN_LIMIT} octets", "length")
    if domain[:1] == b"[":
        if not is_literal(domain):
            raise AddressError("bad address literal")
    elif not (smtputf8 and not domain.isascii()) and not _HOST.fullmatch(domain):
        raise AddressError("bad domain")


def is_literal(name: bytes) -> bool:
    """Say whether `name` is an address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3)."""
    if _BRACKETED.fullmatch(name) is None:
        return False
    text = name[1:-1].decode("ascii")
    try:
        if text[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(text[5:])
            return "%" not in text
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
