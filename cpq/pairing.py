"""Paired appliances: their certificates and addresses as files, and the TLS contexts made of them.

`DIR/pairing/<serial>.json` is the pairing; `<serial>.crt` beside it is the same certificate for people and tools.
Every process that speaks the quarantine channel has a `Pairings`; it notices changed files by itself, so pairing
needs no restart. A peer is who its certificate's SHA-256 says, on every connection; that it also verifies against
the context only keeps strangers out earlier. Raises `GatepostError` (78) for its own key, ValueError for a serial
that cannot be a file name; a pairing file that cannot be read is skipped and named in `faults`.
"""

import hashlib
import re
import ssl
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from core.disk import Disk, replace_file
from core.errors import EX_CONFIG, GatepostError
from core.tls import own_context

_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """One paired appliance. `certificate` is PEM."""

    serial: str
    certificate: str
    role: str
    """`esa` or `sma`."""
    address: str
    """Where its cpq_listener was when the two were paired."""
    port: int
    console_host: str = ""
    console_port: int = 0
    host_key: str = ""
    """Public key line of its console, pinned at pairing (on the SMA)."""
    command_key: str = ""
    """Public key line of its command client (on the ESA): may run `cpq listener` here and nothing else."""
    paired_at: float = 0.0

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate in DER form."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate)).digest()


class Pairings:
    """The paired appliances of one machine and the contexts for talking to them."""

    def __init__(self, directory: Path, key: Path, certificate: Path) -> None:
        """Take the folder of pairings and this machine's own key and certificate (PEM files)."""
        self._directory = directory
        self._key = key
        self._certificate = certificate
        self._signature: tuple[tuple[str, int, int], ...] | None = None
        self._looked_at = 0.0
        self._by_serial: dict[str, Pairing] = {}
        self._by_fingerprint: dict[bytes, Pairing] = {}
        self._server: ssl.SSLContext | None = None
        self._server_fits = False
        self._clients: dict[str, ssl.SSLContext] = {}
        self.faults: list[str] = []
        """Pairing files that could not be used, in plain words."""

    def all(self) -> list[Pairing]:
        """Give all pairings, by serial."""
        self._refresh()
        return [self._by_serial[serial] for serial in sorted(self._by_serial)]

    def named(self, serial: str) -> Pairing | None:
        """Give the pairing with that serial."""
        self._refresh()
        return self._by_serial.get(serial)

    def only(self, role: str) -> Pairing | None:
        """Give the pairing with that role if there is exactly one (an ESA's management host)."""
        found = [one for one in self.all() if one.role == role]
        return found[0] if len(found) == 1 else None

    def identify(self, certificate_der: bytes | None) -> Pairing | None:
        """Tell whose certificate this is; None for a stranger."""
        if not certificate_der:
            return None
        self._refresh()
        return self._by_fingerprint.get(hashlib.sha256(certificate_der).digest())

    def server_context(self) -> ssl.SSLContext:
        """Give the context of the listener: it trusts the paired certificates and asks every client for one."""
        self._refresh()
        if self._server is not None and self._server_fits:
            return self._server
        try:
            context = self._context(ssl.PROTOCOL_TLS_SERVER)
        except GatepostError as error:
            if self._server is None:
                raise
            self.faults.append(error.text)  # peers that were paired before still get in
            context = self._server
        else:
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
            for one in self._by_serial.values():
                context.load_verify_locations(cadata=one.certificate)
        self._server, self._server_fits = context, True
        return context

    def reload(self) -> list[str]:
        """Read this machine's own certificate again; connections keep what they have. No warnings so far.

        Raises `GatepostError`: then the old one stays.
        """
        self._context(ssl.PROTOCOL_TLS_SERVER)
        self._server_fits = False
        self._clients = {}
        return []

    def client_context(self, serial: str) -> ssl.SSLContext:
        """Give the context for calling one paired appliance. Raises KeyError if it is not paired."""
        self._refresh()
        if serial not in self._clients:
            context = self._context(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=self._by_serial[serial].certificate)
            self._clients[serial] = context
        return self._clients[serial]

    def add(self, pairing: Pairing) -> None:
        """Write a pairing down, durably, in the place of an older one with this serial. Raises OSError, ValueError."""
        if not _SERIAL.fullmatch(pairing.serial):
            raise ValueError(f"{pairing.serial!r} is not a serial")
        ssl.PEM_cert_to_DER_cert(pairing.certificate)
        disk = Disk()
        disk.make_directory(self._directory)
        replace_file(disk, self._directory / f"{pairing.serial}.json", msgspec.json.encode(asdict(pairing)))
        replace_file(disk, self._directory / f"{pairing.serial}.crt", pairing.certificate.encode("ascii"))
        self._looked_at = 0.0

    def remove(self, serial: str) -> None:
        """Forget an appliance; connections that are open end with their next message. Raises KeyError."""
        if self.named(serial) is None:
            raise KeyError(serial)
        disk = Disk()
        disk.unlink(self._directory / f"{serial}.json")
        disk.unlink(self._directory / f"{serial}.crt")
        disk.fsync_directory(self._directory)
        self._looked_at = 0.0

    def _context(self, protocol: int) -> ssl.SSLContext:
        try:
            context = own_context(protocol, self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise GatepostError(
                f"{self._certificate}: this machine's quarantine certificate cannot be used ({error});"
                " run `gatepost init` again",
                EX_CONFIG,
            ) from error
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _refresh(self) -> None:
        """Read the folder again if it has changed; looks at most once a second."""
        now = time.monotonic()
        if self._signature is not None and now - self._looked_at < _LOOK_AGAIN_S and self._looked_at:
            return
        self._looked_at = now
        files = sorted(self._directory.glob("*.json")) if self._directory.is_dir() else []
        signature = tuple(_stamp(path) for path in files)
        if signature == self._signature:
            return
        self._signature = signature
        self._server_fits = False
        self._clients = {}
        self.faults = []
        found = [one for one in map(self._read, files) if one is not None]
        self._by_serial = {one.serial: one for one in found}
        self._by_fingerprint = {one.fingerprint: one for one in found}

    def _read(self, path: Path) -> Pairing | None:
        try:
            pairing = msgspec.json.decode(path.read_bytes(), type=Pairing)
            if pairing.serial != path.stem:
                raise ValueError("names another serial than its file")
            ssl.create_default_context(cadata=pairing.certificate)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            self.faults.append(f"{path}: {error}; pair the appliance again")
            return None
        return pairing


def _stamp(path: Path) -> tuple[str, int, int]:
    """Tell one content of a file from another; a file that was removed since it was listed has none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return path.name, 0, 0
    return path.name, facts.st_mtime_ns, facts.st_ino
