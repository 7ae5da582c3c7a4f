"""keyd's service: takes requests from the control socket, lets one at a time at keys and files, drops what is over.

Built by `daemons/keyd.py`. What is kept lies in one folder: keys, `grants.json`, `limits.json` and `audit.jsonl`, a
hash chain of keyd's own that is synced with every line: what cannot be logged is not handed out.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.control import Handler
from core.diagnostic import INFO, say
from core.errors import EX_IOERR, GatepostError
from core.lifecycle import Scope
from tunnel.audit import AuditLog
from tunnel.config import KeydSection
from tunnel.keyd import api
from tunnel.keyd.deriving import DERIVATION, WRONG_SEED, Deriving
from tunnel.keyd.grant import FILE_NAME, Grants
from tunnel.keyd.keyring import Keyring
from tunnel.keyd.limit import HourlyLimits
from tunnel.keyd.signing import Signing

_SWEEP_S = 60.0


class KeydServer:
    """Answers what is asked of keyd."""

    name = "keyd"

    def __init__(
        self, folder: Path, section: KeydSection, names: tuple[str, ...], now: clock.Clock = clock.now
    ) -> None:
        """Open what lies in `folder`; `names` are those that a host certificate may carry.

        Raises status 78 for a folder that others can get at and for a file that is damaged.
        """
        keyring = Keyring(folder, now)
        most = {DERIVATION: section.derivations_per_hour, WRONG_SEED: section.wrong_seeds_per_hour}
        limits = HourlyLimits(folder / "limits.json", most, now)
        self._audit = AuditLog(folder / "audit.jsonl", now)
        self._grants = Grants(folder / FILE_NAME, now)
        self._signing = Signing(keyring, self._grants, section, names, self._log)
        self._deriving = Deriving(keyring, self._grants, limits, section, self._log, now)
        self._one = asyncio.Lock()

    @property
    def verbs(self) -> dict[str, Handler]:
        """The verbs of the control socket."""
        signing, deriving = self._signing, self._deriving
        return {
            "public": self._verb(api.PublicArgs, signing.public),
            "sign_engineer": self._verb(api.SignEngineerArgs, signing.engineer),
            "sign_host": self._verb(api.SignHostArgs, signing.host),
            "sign_recording": self._verb(api.SignRecordingArgs, signing.recording),
            "support_key_new": self._verb(api.SupportKeyNewArgs, signing.new_support_key),
            "support_key_retire": self._verb(api.SupportKeyRetireArgs, signing.retire_support_key),
            "grant": self._grant,
            "certify": self._verb(api.CertifyArgs, deriving.certify),
            "password": self._verb(api.PasswordArgs, deriving.password),
            "forget": self._verb(api.ForgetArgs, deriving.forget),
        }

    async def run(self, scope: Scope) -> None:
        """Drop grants that have run out, each minute, until stopping."""
        scope.ready()
        while True:
            dropped = await self._alone(self._grants.sweep)
            if dropped:
                say(INFO, f"keyd: {dropped} grants have run out")
            if not await scope.pause(_SWEEP_S):
                return

    def _verb(self, kind: type[api.Struct], work: Callable[[api.Struct], msgspec.Struct]) -> Handler:
        async def answer(args: dict[str, Any]) -> Any:
            return msgspec.to_builtins(await self._alone(work, api.parsed(kind, args)))

        return answer

    async def _grant(self, args: dict[str, Any]) -> Any:
        return msgspec.to_builtins(await self._deriving.grant(api.parsed(api.GrantArgs, args), self._alone))

    async def _alone(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run in a thread what touches keys and files, with nothing else of the kind beside it."""
        async with self._one:
            try:
                return await asyncio.to_thread(work, *args)
            except OSError as error:
                text = f"keyd cannot write to its folder ({error.strerror or error}); nothing was handed out"
                raise GatepostError(text, EX_IOERR) from error

    def _log(self, event: str, **facts: Any) -> None:
        self._audit.write(event, **facts)
        self._audit.sync()
