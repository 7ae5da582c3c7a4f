"""The certificates that a mail host shows: TLSA records, paths to an authority, names (RFC 6698, 7671, 6125).

Called by delivery (`mail/delivery/tls/`) with DER forms as `core.smtp` saw them. Knows no DNS and no policy. Raises
`ChainRefused` with a result type of RFC 8460 4.3; whatever is not a certificate is refused like a wrong one.
"""

import functools
import hashlib
import ssl
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import verification
from cryptography.x509.oid import ExtensionOID, NameOID

from core.dns import Tlsa

DANE_TA, DANE_EE = 2, 3
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What cryptography raises when it comes to read parts of a certificate that the peer made up."""
_CERTIFICATE, _KEY = 0, 1
_FULL = 0
_DIGESTS = {1: (hashlib.sha256, 32), 2: (hashlib.sha512, 64)}


class ChainRefused(Exception):
    """What the host showed will not do; `kind` is a result type of RFC 8460 4.3."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


def usable(record: Tlsa) -> bool:
    """Tell whether a TLSA record can be used for mail (RFC 7672 3.1): DANE-TA or DANE-EE, nothing unknown."""
    if record.usage not in (DANE_TA, DANE_EE) or record.selector not in (_CERTIFICATE, _KEY):
        return False
    if record.matching != _FULL:
        return record.matching in _DIGESTS and len(record.data) == _DIGESTS[record.matching][1]
    try:
        if record.selector == _KEY:
            load_der_public_key(record.data)
        else:
            x509.load_der_x509_certificate(record.data)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def tlsa_data(certificate: bytes) -> str:
    """Give the data of the TLSA record that goes with a PEM certificate: 3 1 1, its public key by SHA-256."""
    key = _public_key(x509.load_pem_x509_certificate(certificate))
    return f"3 1 1 {hashlib.sha256(key).hexdigest()}"


def check_dane(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> str:
    """See that a chain fits one of the usable records; give in words which. Raises `ChainRefused`.

    DANE-EE looks at nothing but the match (RFC 7671 5.1). DANE-TA needs a path to the named authority, in date, and one
    of `names` in the certificate (RFC 7672 3.2.2).
    """
    certificates = _load(chain)
    own = [record for record in records if record.usage == DANE_EE]
    for record in own:
        if _matches(record, certificates[0]):
            return f"DANE-EE {_shape(record)}"
    problem = ChainRefused("the certificate does not match any TLSA record", "validation-failure")
    for record in records:
        if record.usage != DANE_TA:
            continue
        for anchor in _anchors(record, certificates):
            try:
                _check_path(certificates, verification.Store([anchor]), now)
                _check_name(certificates[0], names)
            except ChainRefused as refused:
                problem = refused
            else:
                return f"DANE-TA {_shape(record)}"
    raise problem


def check_authorities(chain: Sequence[bytes], names: Sequence[str], now: float, authorities: str = "") -> None:
    """See that a chain leads to an authority of a PEM file ('' = the system's), in date, and has one of the names.

    Raises `ChainRefused`, `OSError` for the file.
    """
    certificates = _load(chain)
    _check_path(certificates, _store(authorities), now)
    _check_name(certificates[0], names)


def check_name(chain: Sequence[bytes], names: Sequence[str]) -> None:
    """See that the certificate is for one of the names; its path is not looked at. Raises `ChainRefused`."""
    _check_name(_load(chain)[0], names)


def names_of(certificate: bytes) -> tuple[str, ...]:
    """Give the DNS names in a certificate, or its common name if it has none; nothing for what is no certificate."""
    try:
        return _names(x509.load_der_x509_certificate(certificate))
    except _UNREADABLE:
        return ()


def describe(certificate: bytes) -> str:
    """Give subject, issuer and last day of a certificate for a person."""
    try:
        one = x509.load_der_x509_certificate(certificate)
        subject, issuer = one.subject.rfc4514_string(), one.issuer.rfc4514_string()
        return f"subject {subject}, issuer {issuer}, until {one.not_valid_after_utc:%Y-%m-%d}"
    except _UNREADABLE:
        return "not a certificate"


def _load(chain: Sequence[bytes]) -> list[x509.Certificate]:
    try:
        certificates = [x509.load_der_x509_certificate(one) for one in chain[:20]]
    except ValueError as problem:
        raise ChainRefused("the peer's certificate cannot be read", "validation-failure") from problem
    if not certificates:
        raise ChainRefused("the peer showed no certificate", "validation-failure")
    return certificates


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    whole = record.selector == _CERTIFICATE
    data = certificate.public_bytes(Encoding.DER) if whole else _public_key(certificate)
    if record.matching != _FULL:
        data = _DIGESTS[record.matching][0](data).digest()
    return data == record.data


def _public_key(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _anchors(record: Tlsa, chain: Sequence[x509.Certificate]) -> Iterable[x509.Certificate]:
    """Give the certificates that a DANE-TA record lets a path end with: shown by the host, or inside the record."""
    for certificate in chain[1:]:
        if _matches(record, certificate):
            yield certificate
    if record.matching != _FULL:
        return
    if record.selector == _CERTIFICATE:
        yield x509.load_der_x509_certificate(record.data)
        return
    # RFC 7671 5.2.3: a bare key; what it has signed need not be followed by a certificate of that key.
    key = load_der_public_key(record.data)
    for certificate in chain:
        if _signed_by(certificate, key):
            yield certificate


def _signed_by(certificate: x509.Certificate, key: object) -> bool:
    holder = _KeyHolder(key)
    try:
        holder.verify(certificate)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm, AttributeError):
        return False
    return True


class _KeyHolder:
    """Checks a signature with a bare key, by the algorithm that the certificate names."""

    def __init__(self, key: object) -> None:
        self._key = key

    def verify(self, certificate: x509.Certificate) -> None:
        """Raises `InvalidSignature`, or what a key of another kind raises."""
        parameters = certificate.signature_algorithm_parameters
        digest = certificate.signature_hash_algorithm
        arguments: list[object] = [certificate.signature, certificate.tbs_certificate_bytes]
        if parameters is not None:
            arguments.append(parameters)
        if digest is not None and type(parameters).__name__ == "PKCS1v15":
            arguments.append(digest)
        self._key.verify(*arguments)  # type: ignore[attr-defined]


def _check_path(chain: Sequence[x509.Certificate], store: verification.Store, now: float) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    _check_dates(chain[0], moment)
    verifier = (
        verification.PolicyBuilder()
        .store(store)
        .time(moment)
        .extension_policies(ca_policy=_authority_policy(), ee_policy=verification.ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(chain[0], list(chain[1:]))
    except (verification.VerificationError, *_UNREADABLE) as problem:
        text = "no path from the certificate to a trusted authority"
        raise ChainRefused(text, "certificate-not-trusted") from problem


def _authority_policy() -> verification.ExtensionPolicy:
    policy = verification.ExtensionPolicy.permit_all()
    return policy.require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)


def _check_dates(certificate: x509.Certificate, moment: datetime) -> None:
    if moment > certificate.not_valid_after_utc:
        raise ChainRefused("the certificate has expired", "certificate-expired")
    if moment < certificate.not_valid_before_utc:
        raise ChainRefused("the certificate is not valid yet", "certificate-expired")


def _check_name(certificate: x509.Certificate, names: Sequence[str]) -> None:
    shown = _names(certificate)
    if not any(_fits(pattern, name) for pattern in shown for name in names):
        text = f"the certificate is for {', '.join(shown[:5]) or 'nobody'}, not for {' or '.join(names)}"
        raise ChainRefused(text, "certificate-host-mismatch")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        alternatives = extension.value.get_values_for_type(x509.DNSName)  # type: ignore[attr-defined]
    except (x509.ExtensionNotFound, *_UNREADABLE):
        alternatives = []
    if alternatives:
        return tuple(name.lower().rstrip(".") for name in alternatives)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return tuple(str(one.value).lower().rstrip(".") for one in common)


def _fits(pattern: str, name: str) -> bool:
    """Compare as RFC 6125 6.4.3 does: a wildcard is the whole first label and stands for one label."""
    name = name.lower().rstrip(".")
    if pattern.startswith("*.") and "." in pattern[2:]:
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def _shape(record: Tlsa) -> str:
    return f"{record.usage} {record.selector} {record.matching}"


@functools.cache
def _store(authorities: str) -> verification.Store:
    if authorities:
        return verification.Store(x509.load_pem_x509_certificates(Path(authorities).read_bytes()))
    context = ssl.create_default_context()
    found = (_readable(one) for one in context.get_ca_certs(binary_form=True))
    return verification.Store([one for one in found if one is not None])


def _readable(certificate: bytes) -> x509.Certificate | None:
    """Read one of the system's authorities; some break the rules and are none for us."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return x509.load_der_x509_certificate(certificate)
        except (ValueError, Warning):
            return None
