"""X.509 certificates, their fingerprints and the serial numbers that name them.

The only module that touches `cryptography`. Called by `gatepost init` (new machines), by pairing and by
whoever shows a fingerprint to a person. It knows no file and no socket; keys leave it as PEM bytes.
Raises ValueError for what is not a certificate or not a serial.
"""

import base64
import datetime
import hashlib
import re
import secrets
import string
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HARDWARE = re.compile(r"[0-9A-F]{12}-[0-9A-Z]{7}")
_VIRTUAL = re.compile(r"[0-9A-F]{20}-[0-9A-F]{12}")
_HUNDRED_YEARS = datetime.timedelta(days=36_524)
_TEN_YEARS = datetime.timedelta(days=3_652)
_CLOCK_SKEW = datetime.timedelta(days=1)
"""Certificates begin this much before they are made, so that a peer whose clock is behind takes them."""


def new_serial(*, hardware: bool = False) -> str:
    """Make a serial number: virtual `<20 hex>-<12 hex>`, hardware `<12 hex>-<7 alnum>`, as the model does."""
    if hardware:
        tail = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(7))
        return f"{secrets.token_hex(6).upper()}-{tail}"
    return f"{secrets.token_hex(10).upper()}-{secrets.token_hex(6).upper()}"


def is_serial(text: str) -> bool:
    """Tell whether text has one of the two shapes, in either case."""
    upper = text.upper()
    return bool(_HARDWARE.fullmatch(upper) or _VIRTUAL.fullmatch(upper))


def user_name(serial: str) -> str:
    """Give the serial as the user name by which tunnels and engineers address the machine: lower case."""
    return serial.lower()


def make_cpq_certificate(serial: str) -> tuple[bytes, bytes]:
    """Make the key and certificate by which a machine is known on the quarantine channel.

    Gives (key PEM, certificate PEM): EC P-256, self-signed, CN = serial, 100 years, for client and server.
    It is pinned at pairing, so it never needs to expire and is its own trust anchor. Subject and authority
    key identifiers are set because OpenSSL finds only the first of several equal subjects without them.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return _key_pem(key), _self_signed(key, serial, _HUNDRED_YEARS, usages, [])


def make_server_certificate(hostname: str) -> tuple[bytes, bytes]:
    """Make a self-signed ECDSA P-256 server certificate for hostname; gives (key PEM, certificate PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(hostname)]
    return _key_pem(key), _self_signed(key, hostname, _TEN_YEARS, [ExtendedKeyUsageOID.SERVER_AUTH], names)


def make_authority(name: str) -> tuple[bytes, bytes]:
    """Make an authority for certificates among machines of one owner; gives (key PEM, certificate PEM), 100 years."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return _key_pem(key), _self_signed(key, name, _HUNDRED_YEARS, usages, [])


def issue_certificate(authority_key: bytes, authority: bytes, name: str) -> tuple[bytes, bytes]:
    """Issue a certificate for one machine, client and server; gives (key PEM, certificate PEM), 10 years.

    Raises ValueError if the authority's key and certificate cannot be used together.
    """
    issuer = _load(authority)
    signer = serialization.load_pem_private_key(authority_key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != issuer.public_key():
        raise ValueError("the authority's key and certificate do not belong together")
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.datetime.now(datetime.UTC) - _CLOCK_SKEW
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _TEN_YEARS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return _key_pem(key), builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: bytes) -> str:
    """Give `SHA256:<base64>` of a certificate in PEM or DER, written the way SSH writes key fingerprints."""
    digest = hashlib.sha256(certificate_der(certificate)).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def certificate_der(certificate: bytes) -> bytes:
    """Give the DER form of one certificate in PEM or DER; ValueError if it is neither."""
    return _load(certificate).public_bytes(serialization.Encoding.DER)


def certificate_serial(certificate: bytes) -> str:
    """Give the common name of a certificate, which on the quarantine channel is the machine's serial."""
    names = _load(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise ValueError("the certificate does not have exactly one common name")
    return str(names[0].value)


class CertificateFacts(NamedTuple):
    """What a listener wants to know of a certificate."""

    names: tuple[str, ...]
    """DNS names, lower case; the common name where there are none."""
    expires_at: float


def certificate_facts(certificate: bytes) -> CertificateFacts:
    """Read the first certificate of a chain. Raises ValueError if it is none."""
    found = _load(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        names = [str(one.value) for one in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return CertificateFacts(tuple(name.lower() for name in names), found.not_valid_after_utc.timestamp())


def _load(certificate: bytes) -> x509.Certificate:
    if certificate.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(certificate)
    return x509.load_der_x509_certificate(certificate)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(
    key: ec.EllipticCurvePrivateKey,
    common_name: str,
    life: datetime.timedelta,
    usages: list[x509.ObjectIdentifier],
    names: list[x509.GeneralName],
) -> bytes:
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    begin = datetime.datetime.now(datetime.UTC) - _CLOCK_SKEW
    key_usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
