"""What keyd signs with keys of its own: engineers' certificates, the bastion's host certificate, recordings.

Called by `server`, in a thread, one at a time. `log` makes a line of keyd's audit durable; nothing that was signed is
given before that. Raises `GatepostError` for what is not signed and `OSError` where the line cannot be written.
"""

from typing import Any, Protocol

from asyncssh import SSHKey

from core.errors import EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, GatepostError
from core.ssh import (
    certificate_facts,
    certificate_text,
    fingerprint,
    host_certificate,
    parse_public,
    public_text,
)
from tunnel.config import KeydSection
from tunnel.identity import sign_engineer
from tunnel.keyd import api
from tunnel.keyd.grant import Grants
from tunnel.keyd.keyring import Keyring
from tunnel.recording.signature import sign_digest


class Log(Protocol):
    """Makes a line of the audit log durable."""

    def __call__(self, event: str, **facts: Any) -> None: ...


class Signing:
    """The verbs that need no seed."""

    def __init__(
        self, keyring: Keyring, grants: Grants, section: KeydSection, names: tuple[str, ...], log: Log
    ) -> None:
        self._keyring = keyring
        self._grants = grants
        self._section = section
        self._names = {name.lower() for name in names}
        self._log = log

    def public(self, _args: api.PublicArgs) -> api.Public:
        """Give the public halves of all keys."""
        return api.Public(
            support_keys=self._keyring.support_keys(),
            engineer_ca=public_text(self._keyring.engineer_ca),
            host_ca=public_text(self._keyring.host_ca),
            recording=public_text(self._keyring.recording),
        )

    def engineer(self, args: api.SignEngineerArgs) -> api.Certificate:
        """Sign a certificate with which an engineer enters the bastion."""
        if not set(args.roles) <= set(api.ROLES):
            raise GatepostError(f"roles are some of {', '.join(api.ROLES)}", EX_USAGE)
        certificate = sign_engineer(
            self._keyring.engineer_ca,
            public_key(args.public_key),
            engineer=args.engineer,
            case=args.case,
            serials=args.serials,
            life_s=args.life_s,
            terminal=api.SHELL in args.roles,
            forwarding=api.FORWARD in args.roles,
        )
        facts = certificate_facts(certificate)
        self._log(
            "sign-engineer",
            key_id=facts.key_id,
            certificate=str(facts.serial),
            serials=facts.principals,
            until_at=facts.valid_before_at,
            roles=args.roles,
            holder=fingerprint(args.public_key),
        )
        return api.Certificate(certificate=certificate_text(certificate))

    def host(self, args: api.SignHostArgs) -> api.Certificate:
        """Sign a host certificate, for names that the configuration gives to the bastion only."""
        names = [name.lower() for name in args.names]
        foreign = sorted(set(names) - self._names)
        if foreign:
            text = f"{foreign[0]} is not one of the bastion's names; add it to [bastion] names and restart keyd"
            raise GatepostError(text, EX_NOPERM)
        key, life_s = public_key(args.public_key), self._section.host_days * 86_400
        certificate = host_certificate(self._keyring.host_ca, key, key_id="bastion", principals=names, life_s=life_s)
        until_at = certificate_facts(certificate).valid_before_at
        self._log("sign-host", names=names, until_at=until_at, holder=fingerprint(key))
        return api.Certificate(certificate=certificate_text(certificate))

    def recording(self, args: api.SignRecordingArgs) -> api.Signature:
        """Sign a recording by its digest."""
        self._log("sign-recording", digest=args.digest)
        signature = sign_digest(self._keyring.recording, bytes.fromhex(args.digest))
        return api.Signature(signature=signature)

    def new_support_key(self, _args: api.SupportKeyNewArgs) -> api.SupportKeys:
        """Make the next support key."""
        number = self._keyring.new_support_key()
        self._log("support-key-new", key_id=number)
        return api.SupportKeys(support_keys=self._keyring.support_keys())

    def retire_support_key(self, args: api.SupportKeyRetireArgs) -> api.SupportKeys:
        """Delete a support key that no open grant was made with."""
        open_ones = self._grants.of_key(args.key_id)
        if open_ones and not args.force:
            text = (
                f"{open_ones} open grants were made with support key {args.key_id}; "
                "wait until their cases are closed, or retire it with --force"
            )
            raise GatepostError(text, EX_UNAVAILABLE)
        self._keyring.retire_support_key(args.key_id)
        self._log("support-key-retire", key_id=args.key_id, forced=args.force)
        return api.SupportKeys(support_keys=self._keyring.support_keys())


def public_key(line: str) -> SSHKey:
    """Read the public key of a request. Raises status 64 if it is none."""
    try:
        return parse_public(line)
    except ValueError as error:
        raise GatepostError(f"not a public key line: {error}", EX_USAGE) from error
