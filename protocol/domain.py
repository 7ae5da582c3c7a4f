"""Domain names in the one form that tables and queues are keyed by.

Tables (routes, destinations) use it for what the operator wrote and for what is looked up, so that `Bücher.example`,
`xn--bcher-kva.example` and `XN--BCHER-KVA.EXAMPLE.` are one domain. Source: RFC 5890 2.3.2.1, RFC 1035 2.3.3.
"""

from ipaddress import ip_address

from protocol.address import to_ascii


def canonical(domain: str) -> str:
    """Give a domain in lower case, without the dot at its end, labels that are not ASCII as A-labels.

    What has no A-label form stays as it is in lower case: it names no domain, and no table has it.
    """
    name = domain.lower()
    if name.isascii():
        return name.removesuffix(".")
    try:
        return to_ascii(name.removesuffix("."))
    except ValueError:
        return name


def check_domain(domain: str) -> str:
    """Give the canonical form of a domain that an operator wrote. Raises `ValueError` if it cannot be one."""
    name = canonical(domain)
    labels = name.split(".")
    if len(name) > 253 or not all(map(_is_label, labels)):
        raise ValueError(f"'{domain}' is not a domain name")
    return name


def literal_address(domain: str) -> str | None:
    """Give the address of an address literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3)."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    inner = domain[1:-1]
    tagged = inner[:5].lower() == "ipv6:"
    try:
        address = ip_address(inner[5:] if tagged else inner)
    except ValueError:
        return None
    return str(address) if tagged == (address.version == 6) else None


def _is_label(label: str) -> bool:
    plain = label.replace("-", "").replace("_", "")
    return plain.isascii() and plain.isalnum() and len(label) <= 63 and label[0] != "-" and label[-1] != "-"
