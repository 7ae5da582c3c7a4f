"""SASL mechanisms on the server's side: what the peer sends in, what is asked, claimed or proven out (RFC 4422).

`mail/login/` runs one `Exchange` per attempt. `start` takes the initial response (None = none was sent), `respond`
each further one; both give a `Prompt` to send, a `Claim` whose password somebody has to check, a `Proof` that needs
no more checking, or a `Failure`. No clock, no randomness (nonces are handed in), no user table (a look-up is).
Raises `Malformed` for what is not in the mechanism's form. Sources: PLAIN RFC 4616; LOGIN
draft-murchison-sasl-login-00; SCRAM-SHA-256 RFC 5802 and 7677; preparation of names and passwords RFC 4013.
"""

import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

NAME_LIMIT: Final = 255
"""Characters of a user name or password."""
_ATTRIBUTES: Final = re.compile(r"n=([^,]+),r=([\x21-\x2b\x2d-\x7e]{1,512})(?:,[A-Za-z]=[^,]*)*")
_FINAL: Final = re.compile(r"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/=]+)")
_VERIFIER: Final = re.compile(
    r"SCRAM-SHA-256\$([0-9]{4,7}):([A-Za-z0-9+/=]{8,88})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})"
)
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class Malformed(ValueError):
    """What the peer sent is not in the form of the mechanism."""


class Prompt(NamedTuple):
    """Send these octets and wait for a response."""

    octets: bytes


class Claim(NamedTuple):
    """The peer says that it is this user and that this is the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Claim({self.user!r}, …)"


class Proof(NamedTuple):
    """The peer has proven that it is this user."""

    user: str


class Failure(NamedTuple):
    """The peer has not proven that it is this user."""

    user: str


Step = Prompt | Claim | Proof | Failure


class Exchange(Protocol):
    """One attempt by one mechanism."""

    def start(self, initial: bytes | None) -> Step:
        """Begin."""

    def respond(self, response: bytes) -> Step:
        """Go on."""


class Plain:
    """PLAIN: everything in one message."""

    def start(self, initial: bytes | None) -> Step:
        """Ask for the message, or take it."""
        return Prompt(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Step:
        """Take `[authorization] NUL user NUL password`; to act for another is not granted."""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Malformed("PLAIN has three parts")
        acting, user, password = _text(parts[0]), prepare(_text(parts[1])), prepare(_text(parts[2]))
        if not user or not password:
            raise Malformed("name or password missing")
        return Claim(user, password) if acting in ("", user) else Failure(user)


class Login:
    """LOGIN: name and password asked for one by one; older clients know nothing else."""

    def __init__(self) -> None:
        self._user = ""

    def start(self, initial: bytes | None) -> Step:
        """Ask for the name, or take it."""
        return self.respond(initial) if initial else Prompt(b"Username:")

    def respond(self, response: bytes) -> Step:
        """Take the name, then the password."""
        text = prepare(_text(response))
        if not text:
            raise Malformed("name or password missing")
        if self._user:
            return Claim(self._user, text)
        self._user = text
        return Prompt(b"Password:")


class Verifier(NamedTuple):
    """What the server keeps of a password for SCRAM-SHA-256 (RFC 5803): it proves, and cannot be used to log in."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        salt, stored, server = (_base64(part) for part in (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"


def make_verifier(password: str, salt: bytes, iterations: int) -> Verifier:
    """Derive a verifier; takes as long as `iterations` say. Raises `Malformed` for a password that cannot be one."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password).encode(), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return Verifier(iterations, salt, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def parse_verifier(text: str) -> Verifier:
    """Read `SCRAM-SHA-256$iterations:salt$stored key:server key`. Raises `ValueError`."""
    found = _VERIFIER.fullmatch(text)
    if found is None:
        raise ValueError("not a SCRAM-SHA-256 verifier")
    salt, stored, server = (binascii.a2b_base64(part) for part in found.groups()[1:])
    return Verifier(int(found[1]), salt, stored, server)


class Scram:
    """SCRAM-SHA-256: the password never crosses the wire, and the server proves itself too."""

    def __init__(self, lookup: Callable[[str], Verifier], nonce: str) -> None:
        """`lookup` gives a verifier for every name, so that who asks cannot tell users from others."""
        self._lookup = lookup
        self._nonce = nonce
        self._user = ""
        self._verifier: Verifier | None = None
        self._header = ""
        self._bare = self._server_first = ""
        self._proven = False

    def start(self, initial: bytes | None) -> Step:
        """Ask for the first message, or take it."""
        return Prompt(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Step:
        """Take the next message."""
        if self._proven:
            if response:
                raise Malformed("nothing follows the server's proof")
            return Proof(self._user)
        text = _text(response, limit=2048)
        return self._first(text) if self._verifier is None else self._final(text, self._verifier)

    def _first(self, text: str) -> Step:
        flag, acting, bare = (*text.split(",", 2), "", "")[:3]
        if flag not in ("n", "y") or (acting and not acting.startswith("a=")):
            raise Malformed("channel binding is not offered")
        found = _ATTRIBUTES.fullmatch(bare)
        if found is None:
            raise Malformed("not a first message of SCRAM")
        self._user = prepare(_unescaped(found[1]))
        if acting and prepare(_unescaped(acting[2:])) != self._user:
            return Failure(self._user)
        self._header = f"{flag},{acting},"
        self._bare = bare
        self._nonce = found[2] + self._nonce
        verifier = self._verifier = self._lookup(self._user)
        self._server_first = f"r={self._nonce},s={_base64(verifier.salt)},i={verifier.iterations}"
        return Prompt(self._server_first.encode())

    def _final(self, text: str, verifier: Verifier) -> Step:
        found = _FINAL.fullmatch(text)
        if found is None:
            raise Malformed("not a final message of SCRAM")
        try:
            header, proof = binascii.a2b_base64(found[2]), binascii.a2b_base64(found[4])
        except binascii.Error:
            raise Malformed("not base64") from None
        if header != self._header.encode() or found[3] != self._nonce:
            return Failure(self._user)
        message = f"{self._bare},{self._server_first},{found[1]}".encode()
        signature = _hmac(verifier.stored_key, message)
        if len(proof) != len(signature):
            return Failure(self._user)
        client_key = bytes(left ^ right for left, right in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key):
            return Failure(self._user)
        self._proven = True
        return Prompt(b"v=" + _base64(_hmac(verifier.server_key, message)).encode())


def prepare(text: str) -> str:
    """Bring a name or password into the form that is compared (SASLprep). Raises `Malformed`."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(character) for character in normal for prohibited in _PROHIBITED):
        raise Malformed("a character that no name or password may hold")
    if any(map(stringprep.in_table_d1, normal)):
        _check_direction(normal)
    return normal


def _check_direction(text: str) -> None:
    """RFC 3454 6: text from right to left begins and ends so and holds nothing from left to right."""
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not ends or any(map(stringprep.in_table_d2, text)):
        raise Malformed("text in two directions")


def _text(octets: bytes, limit: int = NAME_LIMIT) -> str:
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    if len(text) > limit:
        raise Malformed("too long")
    return text


def _unescaped(name: str) -> str:
    """Undo `=2C` and `=3D` (RFC 5802 5.1)."""
    plain = name.replace("=2C", ",").replace("=3D", "\0")
    if "=" in plain or len(plain) > NAME_LIMIT:
        raise Malformed("bad user name")
    return plain.replace("\0", "=")


def _base64(octets: bytes) -> str:
    return binascii.b2a_base64(octets, newline=False).decode("ascii")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
