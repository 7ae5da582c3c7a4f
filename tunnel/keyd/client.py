"""How the bastion and the commands ask keyd: one connection and one request at a time, typed both ways.

`Keyd` is for daemons; a command says `asked(keyd.public())`, which runs the loop for this one answer. Every call
raises `GatepostError`: 69 with the command that starts keyd when it is away, 77 when this user may not ask it or a
seed does not fit, 75 when a limit says to wait.
"""

from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from core.control import call
from core.errors import EX_NOPERM, EX_UNAVAILABLE, GatepostError
from core.runtime import run
from tunnel.keyd import api

SOCKET = "keyd.sock"
"""In the machine's run directory."""
TIMEOUT_S = 30.0
"""A derivation takes a tenth of a second and others may be ahead of it."""
_NOT_THERE = "is not running"

T = TypeVar("T")
Struct = TypeVar("Struct", bound=msgspec.Struct)


def asked(coroutine: Coroutine[Any, Any, T]) -> T:
    """Get one answer from a command, which has no loop of its own."""
    return run(coroutine)


class Keyd:
    """The keyd of one machine, by its socket."""

    def __init__(self, socket: Path, timeout_s: float = TIMEOUT_S, of_users: Collection[int] = ()) -> None:
        """`of_users` are the numbers of those whose keyd is believed, none = anybody's (`core.control.call`)."""
        self._socket = socket
        self._timeout_s = timeout_s
        self._of_users = of_users

    async def public(self) -> api.Public:
        """Give the public halves of all keys."""
        return await self._ask("public", api.PublicArgs(), api.Public)

    async def sign_engineer(
        self,
        public_key: str,
        engineer: str,
        case: str,
        serials: Sequence[str],
        *,
        life_s: float,
        roles: Sequence[str] = (api.SHELL,),
    ) -> str:
        """Give a certificate with which an engineer enters the bastion for the appliances of a case."""
        args = api.SignEngineerArgs(
            public_key=public_key,
            engineer=engineer,
            case=case,
            serials=tuple(serials),
            life_s=life_s,
            roles=tuple(roles),
        )
        return (await self._ask("sign_engineer", args, api.Certificate)).certificate

    async def sign_host(self, public_key: str, names: Sequence[str]) -> str:
        """Give a host certificate for some of the configured names of the bastion."""
        args = api.SignHostArgs(public_key=public_key, names=tuple(names))
        return (await self._ask("sign_host", args, api.Certificate)).certificate

    async def grant(
        self,
        case: str,
        serial: str,
        *,
        appliance_key: str,
        seed: str,
        engineer: str | None = None,
        published: api.Published | None = None,
    ) -> api.Granted:
        """Derive the keys of an activation and keep them in keyd under the id that this gives."""
        args = api.GrantArgs(
            case=case,
            serial=serial,
            appliance_key=appliance_key,
            seed=seed,
            engineer=engineer,
            published=published,
        )
        return await self._ask("grant", args, api.Granted)

    async def certify(
        self, grant_id: str, public_key: str, key_id: str, *, life_s: float, forwarding: bool = False
    ) -> str:
        """Give a certificate by the derived key of a grant; `key_id` is the engineer's."""
        args = api.CertifyArgs(
            grant_id=grant_id, public_key=public_key, key_id=key_id, life_s=life_s, forwarding=forwarding
        )
        return (await self._ask("certify", args, api.Certificate)).certificate

    async def password(self, grant_id: str, number: int | None = None) -> api.PasswordGiven:
        """Give the next one-time password of a grant, or again one that was given out before."""
        return await self._ask("password", api.PasswordArgs(grant_id=grant_id, number=number), api.PasswordGiven)

    async def forget(self, grant_id: str) -> bool:
        """Drop a grant; tells whether there was one."""
        return (await self._ask("forget", api.ForgetArgs(grant_id=grant_id), api.Forgotten)).forgotten

    async def sign_recording(self, digest: str) -> str:
        """Give an armored SSH signature for a recording whose SHA-256 or SHA-512 this is, in hex."""
        return (await self._ask("sign_recording", api.SignRecordingArgs(digest=digest), api.Signature)).signature

    async def rotate(self, retire: int = 0, *, force: bool = False) -> tuple[api.SupportKey, ...]:
        """Make the next support key, or retire the one with this number; gives those that are there then."""
        args: api.Args = api.SupportKeyRetireArgs(key_id=retire, force=force) if retire else api.SupportKeyNewArgs()
        verb = "support_key_retire" if retire else "support_key_new"
        return (await self._ask(verb, args, api.SupportKeys)).support_keys

    async def _ask(self, verb: str, args: api.Args, kind: type[Struct]) -> Struct:
        try:
            answer = await call(self._socket, verb, self._timeout_s, self._of_users, **msgspec.to_builtins(args))
        except GatepostError as error:
            raise self._explained(error) from error
        return api.understood(kind, answer)

    def _explained(self, error: GatepostError) -> GatepostError:
        config = self._socket.parent.parent / "gatepost.toml"
        if error.status == EX_UNAVAILABLE and _NOT_THERE in error.text:
            return GatepostError(f"keyd is not running; start it: gatepost run keyd --config {config}", EX_UNAVAILABLE)
        if error.status == EX_NOPERM and "may not be asked" in error.text:
            text = f"keyd does not answer this user; name the user in [keyd] clients of {config} and restart keyd"
            return GatepostError(text, EX_NOPERM)
        return error
