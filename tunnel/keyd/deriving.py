"""What keyd does with a seed: derive, keep the keys as a grant, and use them for whoever names the grant.

Called by `server`. `Deriving.grant` is the one verb that takes long; it counts a try before it derives and a wrong seed
before it says so. The others run in a thread, one at a time. Raises `GatepostError`: 65 for a seed that is mistyped or
too old, 77 for one that does not fit, 75 for too many.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from core import agreement, clock
from core.errors import EX_NOPERM, EX_USAGE, GatepostError
from core.ssh import CertificateFacts, certificate_text, fingerprint, user_certificate
from core.ssh.key import key_of
from tunnel.config import KeydSection
from tunnel.identity import VIA_BASTION, certificate_serial, engineer_of, is_name, is_word
from tunnel.keyd import api, search
from tunnel.keyd.grant import Grant, Grants
from tunnel.keyd.keyring import Keyring
from tunnel.keyd.limit import HourlyLimits
from tunnel.keyd.signing import Log, public_key
from tunnel.seed import code
from tunnel.seed.password import COUNT, password

DERIVATION, WRONG_SEED = "derivation", "wrong seed"
"""What is counted by the hour: by engineer, by appliance."""
_NOBODY = "nobody"
"""Under whom derivations are counted where no engineer is named."""

Alone = Callable[..., Awaitable[Any]]
"""Runs a function in a thread, with no other of the kind beside it."""


class Deriving:
    """The verbs about seeds and grants."""

    def __init__(  # noqa: PLR0917 - what it works with
        self,
        keyring: Keyring,
        grants: Grants,
        limits: HourlyLimits,
        section: KeydSection,
        log: Log,
        now: clock.Clock,
    ) -> None:
        self._keyring = keyring
        self._grants = grants
        self._limits = limits
        self._life_s = section.grant_hours * 3600
        self._certify_s = section.certify_minutes * 60
        self._log = log
        self._now = now
        self._turn = asyncio.Lock()

    async def grant(self, wanted: api.GrantArgs, alone: Alone) -> api.Granted:
        """Derive the keys of an activation and keep them. One at a time, so that tries are counted exactly."""
        seed = code.read(wanted.seed)
        asked = _Asked(wanted)
        async with self._turn:
            key_ids = await alone(lambda: [key.key_id for key in reversed(self._keyring.support_keys())])
            now = self._now()
            tries = search.candidates(seed, wanted.published, key_ids, now)
            search.refuse_expired(tries, now)
            await alone(self._admit, asked)
            found = await asyncio.to_thread(
                search.find,
                seed,
                tries,
                wanted.published,
                serial=asked.serial,
                appliance_key=asked.key,
                support_key=self._keyring.support_key,
            )
            if found is None:
                raise await alone(self._wrong, asked)
            granted: api.Granted = await alone(self._keep, asked, found)
            return granted

    def certify(self, args: api.CertifyArgs) -> api.Certificate:
        """Sign a certificate with the derived key of a grant, for the case of the grant and its appliance only."""
        grant = self._grants.get(args.grant_id)
        engineer = engineer_of(CertificateFacts(args.key_id, 0, (grant.serial,), 0.0, 0.0))
        if engineer is None:
            raise GatepostError("key_id is not one of an engineer's certificate", EX_USAGE)
        if engineer.case != grant.case:
            raise GatepostError(f"this grant is for case {grant.case}, not for {engineer.case}", EX_NOPERM)
        key = public_key(args.public_key)
        life_s = min(args.life_s, self._certify_s, max(1.0, grant.until_at - self._now()))
        serial = certificate_serial()
        certificate = user_certificate(
            key_of(grant.secret),
            key,
            key_id=engineer.key_id + (VIA_BASTION if engineer.relayed else ""),
            principals=[grant.serial],
            life_s=life_s,
            serial=serial,
            permit_pty=True,
            permit_port_forwarding=args.forwarding,
        )
        self._log(
            "certify",
            grant=grant.grant_id,
            serial=grant.serial,
            key_id=args.key_id,
            certificate=str(serial),
            life_s=life_s,
            forwarding=args.forwarding,
            holder=fingerprint(key),
        )
        return api.Certificate(certificate=certificate_text(certificate))

    def password(self, args: api.PasswordArgs) -> api.PasswordGiven:
        """Give the next one-time password, counted before it is given."""
        grant = self._grants.get(args.grant_id)
        number = self._grants.number(grant, args.number)
        self._log("password", grant=grant.grant_id, serial=grant.serial, case=grant.case, number=number)
        return api.PasswordGiven(password=password(grant.code_key, number), number=number, left=COUNT - number - 1)

    def forget(self, args: api.ForgetArgs) -> api.Forgotten:
        """Drop a grant."""
        forgotten = self._grants.forget(args.grant_id)
        if forgotten:
            self._log("forget", grant=args.grant_id)
        return api.Forgotten(forgotten=forgotten)

    def _admit(self, asked: "_Asked") -> None:
        self._limits.check(WRONG_SEED, asked.serial, f"too many wrong or unchecked seeds for {asked.serial.upper()}")
        self._limits.check(DERIVATION, asked.engineer, f"too many seeds brought in by {asked.engineer}")
        self._limits.count(DERIVATION, asked.engineer)
        if not asked.published:
            # Whoever asks is told the fingerprint and may know the right one: it is as good a guess as any other.
            self._limits.count(WRONG_SEED, asked.serial)
        self._log("derive", serial=asked.serial, case=asked.case, engineer=asked.engineer)

    def _wrong(self, asked: "_Asked") -> GatepostError:
        self._limits.count(WRONG_SEED, asked.serial)
        self._log("wrong-seed", serial=asked.serial, case=asked.case, engineer=asked.engineer)
        left = self._limits.left(WRONG_SEED, asked.serial)
        text = (
            f"the seed string does not fit the access that {asked.serial.upper()} has enabled now; "
            f"nothing was sent there, {left} tries are left this hour"
        )
        return GatepostError(text, EX_NOPERM)

    def _keep(self, asked: "_Asked", found: search.Found) -> api.Granted:
        now = self._now()
        grant = Grant(
            grant_id=secrets.token_hex(16),
            case=asked.case,
            serial=asked.serial,
            engineer=asked.engineer,
            fingerprint=found.keys.fingerprint,
            mode=found.tried.mode.lower(),
            key_id=found.tried.key_id,
            made_at=now,
            until_at=search.until_at(found, now, self._life_s),
            checked=asked.published,
            secret=found.keys.secret,
            code_key=found.keys.code_key,
        )
        self._keyring.used(grant.key_id)
        self._grants.add(grant)
        self._log(
            "grant",
            grant=grant.grant_id,
            serial=grant.serial,
            case=grant.case,
            engineer=grant.engineer,
            fingerprint=grant.fingerprint,
            mode=grant.mode,
            support_key=grant.key_id,
            until_at=grant.until_at,
            checked=grant.checked,
        )
        return api.Granted(
            grant_id=grant.grant_id,
            fingerprint=grant.fingerprint,
            mode=grant.mode,
            until_at=grant.until_at,
            checked=grant.checked,
        )


class _Asked:
    """A request for a grant whose words are in order; the seed is not in it. Raises status 64."""

    def __init__(self, wanted: api.GrantArgs) -> None:
        self.serial = wanted.serial.lower()
        self.case = wanted.case
        self.engineer = wanted.engineer or _NOBODY
        self.published = wanted.published is not None
        if not is_name(self.serial) or not is_word(self.case):
            raise GatepostError("give the serial of an appliance and the number of a case", EX_USAGE)
        try:
            self.key = agreement.decode(wanted.appliance_key)
        except ValueError as error:
            raise GatepostError(f"appliance_key: {error}", EX_USAGE) from error
