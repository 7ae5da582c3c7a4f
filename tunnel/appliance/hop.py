"""Which addresses may ever be a further appliance that support reaches through this one.

Asked when an administrator names them and again when support goes there. The configuration lists networks; whatever
it lists, this machine's own addresses, link-local ones and those where clouds keep secrets are none, unless (for a
laboratory on loopback) a network within loopback itself is listed.
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})
"""Where a cloud tells machines their secrets within private space; the others are link-local."""


def address_of(text: str) -> Address | None:
    """Read an address; one of IPv4 in the clothes of IPv6 is taken for what it is. None if it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def may_be_hop(address: Address, networks: Sequence[str]) -> bool:
    """Tell whether an address may be reached at all, given the networks of the configuration."""
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
        return False
    parsed = [ipaddress.ip_network(network) for network in networks]
    return any(address in each for each in parsed if each.is_loopback or not address.is_loopback)
