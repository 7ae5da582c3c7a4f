"""Which TLS versions and ciphers a side of the machine speaks: web, mail that comes in, mail that goes out.

The configuration checks its texts here, whoever makes a context applies them (core/tls.py, core/smtp/client_tls.py).
Versions before 1.2 cannot be had: RFC 8996 forbids them, and OpenSSL's usual security level refuses them. The ciphers
are those of TLS 1.2, in OpenSSL's notation; those of TLS 1.3 are all fit. Raises `ValueError`.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MODERN: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
"""Forward secrecy and authenticated encryption only. Anonymous ones would let a peer pass without a certificate."""
WIDE: Final = "DEFAULT:!aNULL:!eNULL"
"""What OpenSSL takes for safe: mail hosts elsewhere are older than one would wish, and the choice may be no TLS."""
VERSIONS: Final = ("1.2", "1.3")
_OPENSSL = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class TlsRules:
    """Versions, as `1.2`, and ciphers of TLS 1.2."""

    versions: tuple[str, ...] = VERSIONS
    ciphers: str = MODERN

    def apply(self, context: ssl.SSLContext) -> None:
        """Have a context speak these and nothing else."""
        spoken = [_OPENSSL[one] for one in sorted(self.versions)]
        context.minimum_version, context.maximum_version = spoken[0], spoken[-1]
        context.set_ciphers(self.ciphers)


def check_ciphers(text: str) -> None:
    """See that a cipher string means something, and nothing that protects nobody. Raises `ValueError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(text)
    except ssl.SSLError:
        raise ValueError(
            "OpenSSL knows no cipher by this string; `openssl ciphers STRING` shows what one means"
        ) from None
    older = [one for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]
    if not older:
        raise ValueError("no cipher of TLS 1.2 is left; take 1.2 from the versions instead")
    if weak := [one["name"] for one in older if "Au=None" in one["description"]]:
        raise ValueError(f"anonymous ciphers would let anybody pass ({weak[0]} …): append :-aNULL")
    if weak := [one["name"] for one in older if "Enc=None" in one["description"]]:
        raise ValueError(f"ciphers that encrypt nothing ({weak[0]} …): append :-eNULL")


def ciphers_of(text: str) -> list[str]:
    """Name the ciphers of TLS 1.2 that a string stands for, best first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(text)
    return [str(one["name"]) for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]


def check_versions(versions: Sequence[str]) -> None:
    """See that there is a version at all. Raises `ValueError`."""
    if not versions:
        raise ValueError(f"one TLS version is needed at least: {', '.join(VERSIONS)}")
