"""Certificates with their keys as an operator brings them: read, checked, made, described.

Used by `certconfig` and by the watch over certificates. Knows no files. What cannot be used raises `ValueError` with
the reason; what is hardly meant (expired, a chain with a gap, a name that is not this host's) is a warning.
"""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LEAST_RSA_BITS: Final = 2048
_DAY_S: Final = 86_400.0
_SKEW: Final = datetime.timedelta(days=1)
_MOST: Final = 20


@dataclass(frozen=True)
class Facts:
    """What a person wants to know of a certificate."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins_at: float
    expires_at: float
    key: str
    fingerprint: str
    self_signed: bool

    def warnings(self, now: float, hostname: str = "", soon_days: int = 30) -> list[str]:
        """Say what is hardly meant: dates, and that it is not for this host."""
        found = []
        left = (self.expires_at - now) / _DAY_S
        if left < 0:
            found.append("it has expired: peers that verify it refuse it")
        elif left < soon_days:
            found.append(f"it expires in {int(left)} days")
        if self.begins_at > now:
            found.append("it is not valid yet")
        if hostname and not any(_fits(name, hostname.lower()) for name in self.names):
            found.append(f"it is for {', '.join(self.names) or 'nobody'}, not for {hostname}")
        return found


@dataclass(frozen=True)
class Credential:
    """A certificate, what leads to its authority, and its private key; PEM, the certificate first, the key open."""

    chain: bytes
    key: bytes
    facts: Facts
    warnings: tuple[str, ...]


def read_credential(pem: bytes, key: bytes = b"", passphrase: str = "") -> Credential:
    """Read certificates and a private key from PEM text, in any order. Raises `ValueError`."""
    whole = pem + b"\n" + key
    certificates = _certificates(whole)
    private = _private(whole, passphrase)
    own = next((one for one in certificates if _public(one) == _public_of(private)), None)
    if own is None:
        raise ValueError("the private key does not belong to the certificate")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < LEAST_RSA_BITS:
        raise ValueError(f"the key has {private.key_size} bits; {LEAST_RSA_BITS} are needed at least")
    chain, gap = _chain(own, certificates)
    text = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    return Credential(text, _key_pem(private), _facts(own), (gap,) if gap else ())


def describe(pem: bytes) -> Facts:
    """Describe the first certificate of a PEM text. Raises `ValueError`."""
    return _facts(_certificates(pem)[0])


def authorities_in(pem: bytes) -> list[Facts]:
    """Describe the authorities of a PEM text. Raises `ValueError` for one that may not sign certificates."""
    found = _certificates(pem, most=1000)
    for one in found:
        try:
            basic = one.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            basic = None
        if basic is None or not basic.ca:
            raise ValueError(f"{one.subject.rfc4514_string()} is no authority: it may not sign certificates")
    return [_facts(one) for one in found]


@dataclass(frozen=True)
class Wanted:
    """What a certificate is to say."""

    names: tuple[str, ...]
    organization: str = ""
    country: str = ""
    days: int = 3652
    rsa: bool = False


def make_credential(wanted: Wanted, now: float) -> tuple[Credential, bytes]:
    """Make a key with a self-signed certificate, and the request for one of an authority (PKCS #10, PEM)."""
    key: Any = rsa.generate_private_key(65537, 3072) if wanted.rsa else ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, wanted.names[0])]
    if wanted.organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, wanted.organization))
    if wanted.country:
        parts.append(x509.NameAttribute(NameOID.COUNTRY_NAME, wanted.country))
    subject, names = x509.Name(parts), x509.SubjectAlternativeName([x509.DNSName(one) for one in wanted.names])
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC) - _SKEW
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _SKEW + datetime.timedelta(days=wanted.days))
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    text = certificate.public_bytes(serialization.Encoding.PEM)
    made = Credential(text, _key_pem(key), _facts(certificate), ("it is self-signed: peers that verify it refuse it",))
    return made, request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _certificates(pem: bytes, most: int = _MOST) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(
            "there is no certificate in PEM form (-----BEGIN CERTIFICATE-----), or a damaged one"
        ) from None
    if len(found) > most:
        raise ValueError(f"there are {len(found)} certificates; {most} are allowed")
    return found


def _private(pem: bytes, passphrase: str) -> Any:
    begin = pem.find(b"PRIVATE KEY-----")
    start = pem.rfind(b"-----BEGIN", 0, begin) if begin >= 0 else -1
    end = pem.find(b"-----END", begin)
    if start < 0 or end < 0:
        raise ValueError("there is no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    block = pem[start : pem.find(b"-----", end + 8) + 5] + b"\n"
    try:
        key = serialization.load_pem_private_key(block, passphrase.encode() or None)
    except TypeError:
        wrong = "is needed: the key is encrypted" if not passphrase else "is not: the key is not encrypted"
        raise ValueError(f"a passphrase {wrong}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the private key cannot be read; is the passphrase right?") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("keys are RSA or ECDSA")
    return key


def _public(certificate: x509.Certificate) -> bytes:
    return _spki(certificate.public_key())


def _public_of(key: Any) -> bytes:
    return _spki(key.public_key())


def _spki(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))


def _key_pem(key: Any) -> bytes:
    encryption = serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))


def _chain(own: x509.Certificate, found: Sequence[x509.Certificate]) -> tuple[list[x509.Certificate], str]:
    """Put certificates in the order in which they are to be shown; says where there is a gap."""
    chain = [own]
    while True:
        last = chain[-1]
        if last.subject == last.issuer:
            return chain, "it is self-signed: peers that verify it refuse it" if last is own else ""
        above = next((one for one in found if one not in chain and _signed(last, one)), None)
        if above is None:
            break
        chain.append(above)
    if len(chain) > 1:
        return chain, ""  # the authority itself need not be shown
    return chain, f"the certificate of its issuer ({own.issuer.rfc4514_string()}) is not with it; peers may miss it"


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _facts(certificate: x509.Certificate) -> Facts:
    public = certificate.public_key()
    kind = type(public).__name__.removeprefix("_")
    if isinstance(public, rsa.RSAPublicKey):
        kind = f"RSA {public.key_size}"
    elif isinstance(public, ec.EllipticCurvePublicKey):
        kind = f"ECDSA {public.curve.name}"
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    return Facts(
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        _names(certificate),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        kind,
        ":".join(digest[place : place + 2] for place in range(0, 64, 2)),
        certificate.subject == certificate.issuer,
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(one.value).lower() for one in common)


def _fits(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.startswith("*.") and name.partition(".")[2] == pattern[2:])
