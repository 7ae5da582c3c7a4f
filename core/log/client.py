"""Which clients a recording is about: addresses, networks, ranges, host names, the ends of host names.

Used by the configuration, which checks entries, and by injection debug logs. A client without a name that is known
matches no host name.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_Address = IPv4Address | IPv6Address
Match = Callable[[_Address | None, str], bool]


def check_client(entry: str) -> None:
    """Raise `ValueError` for an entry that is none."""
    _match(entry)


class Clients:
    """A set of entries."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._matches = [_match(entry) for entry in entries]
        self.named = any(_is_name(entry) for entry in entries)
        """Whether host names matter."""

    def has(self, host: str, name: str) -> bool:
        """Tell whether a client is meant; `name` is '' where it is not known."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            address = None
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(match(address, name.lower().rstrip(".")) for match in self._matches)


def _is_name(entry: str) -> bool:
    return any(char.isalpha() for char in entry) and ":" not in entry


def _match(entry: str) -> Match:
    if _is_name(entry):
        return _name(entry.lower().rstrip("."))
    first, dash, last = entry.partition("-")
    try:
        if dash:
            return _range(first.strip(), last.strip())
        network = ip_network(_completed(entry), strict=False)
    except ValueError:
        raise ValueError(
            "a client is an address, a network (192.0.2.0/24, 192.0.2.), a range (192.0.2.1-9), "
            "a host name, or the end of one (.example.test)"
        ) from None
    return lambda address, _name: address is not None and address in network


def _completed(entry: str) -> str:
    """Give the network of a partial address: `192.0.2.` is 192.0.2.0/24."""
    if not entry.endswith("."):
        return entry
    parts = entry[:-1].split(".")
    return ".".join([*parts, *["0"] * (4 - len(parts))]) + f"/{8 * len(parts)}"


def _range(first: str, last: str) -> Match:
    low = ip_address(first)
    if isinstance(low, IPv4Address) and "." not in last:
        last = f"{first.rpartition('.')[0]}.{last}"
    high = ip_address(last)
    if low.version != high.version or int(low) > int(high):
        raise ValueError("the range ends before it begins")
    return lambda address, _name: (
        address is not None and address.version == low.version and int(low) <= int(address) <= int(high)
    )


def _name(wanted: str) -> Match:
    if " " in wanted or not wanted.strip("."):
        raise ValueError("a host name has no blanks")
    if wanted.startswith("."):
        return lambda _address, name: name.endswith(wanted)
    return lambda _address, name: name == wanted
