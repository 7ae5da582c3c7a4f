"""Sets of IP addresses in the notations that operators write.

Used by the host access table and by the `remote-ip` rule. Accepted forms (behaviour 2.14): `10.1.2.3`,
`10.1.2.` or `10.1` (partial), `10.1.2.3-9`, `10.1.2-5` and `10-11` (a range on the last given octet),
`10.1.0.0/16` or `10.1/16`, and for IPv6 an address, `a-b` or `a/c`. It knows no DNS and no policy.
Raises `ValueError` with a reason for a person.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

_V4 = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,3})(?:-(\d{1,3}))?\.?(?:/(\d{1,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Netblock:
    """One contiguous range of addresses of one family."""

    version: int
    first: int
    last: int

    def contains(self, address: "Address") -> bool:
        """Tell whether an address lies in the range."""
        return address.version == self.version and self.first <= address.number <= self.last


@dataclass(frozen=True, slots=True)
class Address:
    """One address as a number, so that a table of thousands of entries is walked cheaply."""

    version: int
    number: int


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address:
    """Read one address; an IPv4 address mapped into IPv6 counts as IPv4."""
    parsed = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return Address(parsed.version, int(parsed))


def looks_like_netblock(text: str) -> bool:
    """Tell an address form from a host name: host names have a letter outside hexadecimal groups."""
    return ":" in text or re.fullmatch(r"[\d./-]+", text, re.ASCII) is not None


def parse_netblock(text: str) -> Netblock:
    """Read one address form. Raises `ValueError`."""
    return _parse_v6(text) if ":" in text else _parse_v4(text)


def _parse_v4(text: str) -> Netblock:
    match = _V4.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not an IP address, range, partial address or CIDR block")
    octets = [int(part) for part in match[1].split(".")]
    upper = int(match[2]) if match[2] is not None else octets[-1]
    if max(*octets, upper) > 255:
        raise ValueError(f"'{text}' has an octet above 255")
    if upper < octets[-1]:
        raise ValueError(f"the range in '{text}' runs backwards")
    if match[3] is not None:
        if match[2] is not None:
            raise ValueError(f"'{text}' mixes a range with a prefix length")
        return _prefix(4, _number(octets, 0), int(match[3]), 32, text)
    return Netblock(4, _number(octets, 0), _number([*octets[:-1], upper], 255))


def _number(octets: list[int], fill: int) -> int:
    return int.from_bytes(bytes(octets + [fill] * (4 - len(octets))))


def _prefix(version: int, number: int, length: int, bits: int, text: str) -> Netblock:
    if length > bits:
        raise ValueError(f"the prefix length in '{text}' is above {bits}")
    spread = (1 << (bits - length)) - 1
    first = number & ~spread
    return Netblock(version, first, first | spread)


def _parse_v6(text: str) -> Netblock:
    base, slash, length = text.partition("/")
    low, dash, high = base.partition("-")
    try:
        first = int(ipaddress.IPv6Address(low))
        last = int(ipaddress.IPv6Address(high)) if dash else first
    except ValueError:
        raise ValueError(f"'{text}' is not an IPv6 address, range or CIDR block") from None
    if slash:
        if dash or not re.fullmatch(r"\d{1,3}", length, re.ASCII):
            raise ValueError(f"the prefix length in '{text}' is not a number from 0 to 128")
        return _prefix(6, first, int(length), 128, text)
    if last < first:
        raise ValueError(f"the range in '{text}' runs backwards")
    return Netblock(6, first, last)
