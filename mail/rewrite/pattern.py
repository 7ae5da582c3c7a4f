"""Left and right sides of the tables that rewrite addresses, read and checked.

`domain_map`, `alias` and `masquerade` look addresses up by these keys; `config` checks what an operator wrote. A key is
in lower case, its domain by A-labels. Raises `ValueError` with the reason.
"""

from collections.abc import Iterator

from protocol.address import LOCAL_LIMIT, unquoted
from protocol.domain import canonical, check_domain, literal_address

ALL = "all"
_NEVER = frozenset(' \t\r\n"<>()[],;:\\')
"""What no unquoted user name holds."""


def key_of(address: str) -> tuple[str, str]:
    """Give user name and domain of an address in the form that keys have."""
    local, _, domain = address.rpartition("@")
    return unquoted(local).lower(), canonical(domain)


def partials(domain: str) -> Iterator[str]:
    """Give the `.partial` forms that a domain falls under, the longest first; a domain is not under itself."""
    if domain.startswith("["):
        return
    at = domain.find(".")
    while at >= 0:
        yield domain[at:]
        at = domain.find(".", at + 1)


def check_domain_side(text: str) -> str:
    """Read `domain` or `.partial`."""
    text = text.strip()
    return f".{check_domain(text[1:])}" if text.startswith(".") else check_domain(text)


def check_user(text: str) -> str:
    """Read a user name."""
    name = unquoted(text.strip())
    plain = name == text.strip()
    if not name or len(name) > LOCAL_LIMIT or not name.isprintable() or (plain and set(name) & _NEVER) or "@" in name:
        raise ValueError(f"'{text}' is not a user name")
    return name.lower()


def check_address(text: str) -> str:
    """Read `user@domain`, and give it as it was written."""
    local, at, domain = text.strip().rpartition("@")
    if not at or not local or not domain:
        raise ValueError(f"'{text}' is not an address: user@domain")
    check_user(local)
    if literal_address(domain) is None:
        check_domain(domain)
    return text.strip()


def address_key(text: str) -> str:
    """Read `user@domain` and give its key."""
    local, domain = key_of(check_address(text))
    return f"{local}@{domain}"
