"""The appliances that the bastion knows: one JSON file per serial with its two public keys.

Written by `gatepost bastion enroll`, read at each login, so that an enrolment takes effect at once.
Raises GatepostError: 64 for what cannot be enrolled, 65 for a second machine under the same serial.
"""

from pathlib import Path

import msgspec

from core import clock
from core.disk import Disk, replace_file
from core.errors import EX_CONFIG, EX_DATAERR, EX_USAGE, GatepostError
from core.ssh import fingerprint, parse_public, public_text, same_key
from tunnel.identity import is_name


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """One known appliance."""

    serial: str
    """Lower case, as it is used as a name."""
    tunnel_key: str
    """The public key with which its tunnel client logs in."""
    host_key: str
    """The public key that its inner SSH server must show."""
    enrolled_at: float


class Registry:
    """The directory of known appliances."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, name: str) -> Enrolled | None:
        """Give an appliance by its lower-case serial; None if it is not known or not a name."""
        if not is_name(name):
            return None
        path = self._path(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Enrolled)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GatepostError(f"{path}: cannot be read: {error}", EX_CONFIG) from error

    def names(self) -> list[str]:
        """List the serials that are known, in order."""
        return sorted(path.name.removesuffix(".json") for path in self._directory.glob("*.json"))

    def enroll(self, serial: str, tunnel_public_key: str, host_public_key: str, *, replace: bool = False) -> Enrolled:
        """Make an appliance known. The same keys again are no error; other keys need replace."""
        name = serial.lower()
        if not is_name(name):
            raise GatepostError(f"{serial!r} is not a serial number", EX_USAGE)
        try:
            tunnel_key, host_key = parse_public(tunnel_public_key), parse_public(host_public_key)
        except ValueError as error:
            raise GatepostError(f"{serial}: {error}", EX_USAGE) from error
        if same_key(tunnel_key, host_key):
            raise GatepostError(f"{serial}: the tunnel key and the host key are the same key", EX_USAGE)
        known = self.get(name)
        if known is not None and same_key(known.tunnel_key, tunnel_key) and same_key(known.host_key, host_key):
            return known
        if known is not None and not replace:
            raise GatepostError(
                f"{serial} is enrolled with other keys (tunnel key {fingerprint(known.tunnel_key)}): "
                "a cloned or replaced machine; if it was replaced, enroll it with --replace",
                EX_DATAERR,
            )
        enrolled = Enrolled(
            serial=name,
            tunnel_key=public_text(tunnel_key),
            host_key=public_text(host_key),
            enrolled_at=clock.now(),
        )
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = msgspec.json.format(msgspec.json.encode(enrolled)) + b"\n"
        replace_file(Disk(), self._path(name), document, mode=0o600)
        return enrolled

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"
