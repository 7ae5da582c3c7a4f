"""What configuration is made of: typed, frozen sections and the kinds of values that they have.

Each feature declares its sections in its own `config.py`; those that every machine has are in section.py.
`daemons/config.py` composes them into one document per role, which document.py reads.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_SECRET_WORDS = frozenset({"password", "passphrase", "secret", "token", "credential", "psk", "seed", "private"})
_KILO = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_KEY = re.compile(r"(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ssh-rsa) ([A-Za-z0-9+/]+={0,2})( [^\r\n]*)?")


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, defer_build=True)


def is_host(value: str) -> bool:
    """Tell whether a text can be an address or a host name."""
    return bool(value) and all(ord(c) > 32 for c in value)


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("an address or host name without blanks is needed")
    try:
        value.encode("idna")  # what the system's resolver does first, and dies of
    except UnicodeError:
        raise ValueError("no host has such a name: a part of it is empty or longer than 63 characters") from None
    return value


def _size(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,12})([KMG]?)", value.strip().upper(), re.ASCII)
        if match is None:
            raise ValueError("a size is a number of octets, or a number followed by K, M or G")
        return int(match[1]) * _KILO[match[2]]
    return value


def _ip(value: str) -> str:
    try:
        ip_address(value.partition("%")[0])
    except ValueError:
        raise ValueError("an IP address is needed") from None
    return value


def _public_key(value: str) -> str:
    found = _KEY.fullmatch(value)
    if not found:
        raise ValueError("not a public key line: TYPE BASE64 [COMMENT], ssh-ed25519 or ssh-rsa, without options")
    try:
        blob = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        raise ValueError("the base64 part of the public key is damaged; copy the whole line") from None
    kind = found[1].encode()
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind):
        raise ValueError("the public key is not of the type that its line says")
    return value


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Make a validator that keeps a text as it is if `check` does not raise `ValueError`."""

    def validate(value: str) -> str:
        check(value)
        return value

    return validate


Host = Annotated[str, AfterValidator(_host)]
HostOrNone = Annotated[str, AfterValidator(lambda value: _host(value) if value else "")]
Port = Annotated[int, Field(ge=1, le=65535)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Ip = Annotated[str, AfterValidator(_ip)]
PublicKey = Annotated[str, AfterValidator(_public_key)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]


def repeated(values: Iterable[str]) -> list[str]:
    """Give the values that occur more than once, whatever their case, each once."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for value in values:
        if value.lower() in seen:
            twice[value] = None
        seen.add(value.lower())
    return list(twice)


def is_secret(key: str) -> bool:
    """Tell by its name whether a key of the configuration holds something that nobody is to read."""
    words = key.lower().replace("-", "_").split("_")
    return any(word in _SECRET_WORDS for word in words)
