"""What the bastion has from keyd and shows to others: whom engineers' certificates come from, its own host certificate.

Both are kept on disk (`state/authority.json`, `keys/bastion_host_ed25519-cert.pub`), so that the bastion starts while
keyd is away; only the very first time it waits for it. The host certificate is renewed in the last third of its life.
Private keys of the authorities are never here. Logs when keyd is away and when it is back.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncssh
import msgspec

from core import clock
from core.diagnostic import INFO, WARNING, say
from core.disk import Disk, replace_file
from core.errors import GatepostError
from core.lifecycle import Scope
from core.ssh import certificate_facts, public_text, read_certificate, same_key
from core.ssh.key import signed_by
from tunnel.keyd.client import Keyd

HostKey = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]

_FILE = Path("state", "authority.json")
_LOOK_S, _AWAY_S, _FIRST_S = 60.0, 5.0, 0.25
"""Between questions: while all is well, while keyd is away, and before there is a certificate."""


class Known(msgspec.Struct, frozen=True):
    """The public lines that keyd gave last."""

    engineer_ca: str = ""
    host_ca: str = ""
    recording: str = ""


def introduce(directory: Path, known: Known) -> None:
    """Write down what keyd will say, on a machine whose keys were just made, so that nobody has to wait for it."""
    path = directory / _FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    replace_file(Disk(), path, msgspec.json.encode(known) + b"\n", mode=0o640)


class Authority:
    """Keeps what keyd gives; a service, ready when it has something."""

    name = "authority"

    def __init__(
        self,
        keyd: Keyd,
        host_key: asyncssh.SSHKey,
        *,
        names: Sequence[str],
        directory: Path,
        renewed: Callable[[HostKey], None],
        now: clock.Clock = clock.now,
    ) -> None:
        """Read what is on disk; `renewed` is told of every new host certificate."""
        self._keyd = keyd
        self._host_key = host_key
        self._names = tuple(name.lower() for name in names)
        self._directory = directory
        self._certificate_file = directory / "keys" / "bastion_host_ed25519-cert.pub"
        self._renewed = renewed
        self._now = now
        self._away = False
        self.known = self._read()
        self._certificate = self._read_certificate()

    @property
    def engineer_cas(self) -> tuple[str, ...]:
        """Public lines of the authorities whose certificates let engineers in."""
        return (self.known.engineer_ca,) if self.known.engineer_ca else ()

    @property
    def host_key(self) -> HostKey:
        """The host key, with its certificate if there is one that is valid."""
        return (self._host_key, self._certificate) if self._certificate else self._host_key

    async def run(self, scope: Scope) -> None:
        """Ask keyd at once and then from time to time, until stopping."""
        if self.known.engineer_ca:
            scope.ready()
        while True:
            answered = await self._asked()
            if self.known.engineer_ca:
                scope.ready()
            wait_s = _LOOK_S if answered else _AWAY_S if self._certificate else _FIRST_S
            if not await scope.pause(wait_s):
                return

    async def _asked(self) -> bool:
        try:
            await self._ask()
        except GatepostError as error:
            if not self._away:
                say(WARNING, f"bastion: {error.text}")
            self._away = True
            return False
        if self._away:
            say(INFO, "bastion: keyd answers")
        self._away = False
        return True

    async def _ask(self) -> None:
        public = await self._keyd.public()
        known = Known(public.engineer_ca, public.host_ca, public.recording)
        if known != self.known:
            await asyncio.to_thread(introduce, self._directory, known)
            self.known = known
        if self._due():
            text = await self._keyd.sign_host(public_text(self._host_key), self._names)
            await asyncio.to_thread(replace_file, Disk(), self._certificate_file, text.encode() + b"\n", mode=0o644)
            self._certificate = asyncssh.import_certificate(text)
            self._renewed(self.host_key)

    def _due(self) -> bool:
        """Tell whether there is no certificate of this authority, or one in the last third of its life."""
        if self._certificate is None or not self._fits(self._certificate):
            return True
        if not signed_by(self._certificate, self.known.host_ca):
            return True
        facts = certificate_facts(self._certificate)
        life_s = facts.valid_before_at - facts.valid_after_at
        return facts.valid_before_at - self._now() < life_s / 3

    def _fits(self, certificate: asyncssh.SSHCertificate) -> bool:
        facts = certificate_facts(certificate)
        named = same_key(certificate.key, self._host_key) and set(self._names) <= set(facts.principals)
        return named and facts.valid_after_at <= self._now() < facts.valid_before_at

    def _read(self) -> Known:
        try:
            return msgspec.json.decode((self._directory / _FILE).read_bytes(), type=Known)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Known()

    def _read_certificate(self) -> asyncssh.SSHCertificate | None:
        try:
            certificate = read_certificate(self._certificate_file)
        except GatepostError:
            return None
        return certificate if self._fits(certificate) else None
