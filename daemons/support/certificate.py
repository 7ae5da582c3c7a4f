"""`gatepost bastion ca sign`: an engineer's certificate for the appliances of one case, signed by keyd.

With --forwarding, for engineers who may go straight through (`ssh -J`), it also gets a certificate for each
appliance of the case whose seed string was taken, and writes the ssh configuration that uses them all.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import EX_NOPERM, EX_OK, EX_UNAVAILABLE, EX_USAGE, GatepostError

if TYPE_CHECKING:
    from daemons.support.opened_bastion import OpenedBastion
    from tunnel.bastion.store import Case, EngineerEntry

_MOST_MINUTES = 1440.0


def add_arguments(verbs: Any) -> None:
    """Describe the commands."""
    from daemons.support.command_line import add_common, add_json

    authority = verbs.add_parser("ca", help="the engineers' certificate authority")
    acts = authority.add_subparsers(dest="act", required=True, metavar="VERB")
    sign = acts.add_parser("sign", help="sign a certificate for an engineer")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="the engineer's public key (.pub)")
    sign.add_argument("--engineer", required=True, metavar="NAME")
    sign.add_argument("--case", required=True, metavar="NUMBER")
    sign.add_argument(
        "--serials", nargs="+", default=[], metavar="SERIAL", help="appliances of the case (default: all)"
    )
    sign.add_argument("--minutes", type=float, default=None, help="life (default: certificate_minutes)")
    sign.add_argument("--forwarding", action="store_true", help="allow ssh -J, which is not recorded here")
    sign.add_argument(
        "--out", type=Path, metavar="FILE", help="- is standard output; default: beside the key, -cert.pub"
    )
    add_json(sign)
    add_common([sign], _sign)
    sign.set_defaults(read_first=_read_key)


def _read_key(args: argparse.Namespace) -> None:
    from core.ssh import key as ssh_key

    args.public = ssh_key.read_public(args.key)


def _sign(args: argparse.Namespace) -> int:
    from daemons.support.command_line import stamp, tell, word
    from daemons.support.opened_bastion import with_bastion

    if args.minutes is not None and not 0 < args.minutes <= _MOST_MINUTES:
        raise GatepostError("a certificate lives more than 0 minutes and at most 1440, which is 24 hours", EX_USAGE)
    word(args.engineer, "engineer")
    word(args.case, "case")
    if str(args.out) == "-" and (args.forwarding or args.json):
        raise GatepostError("--out - is for the one certificate alone; name a file with --out", EX_USAGE)
    document = with_bastion(args, lambda bastion: _signed(bastion, args, args.public))
    if str(args.out) == "-":
        sys.stderr.write("".join(f"note: {note}\n" for note in document["notes"]))
        return EX_OK
    text = f"{document['certificate']}: valid for {document['minutes']:g} minutes, case {args.case}"
    for one in document["appliances"]:
        text += f"\n{one['certificate']}: {one['serial']}, until {stamp(one['until'])}"
    if document["ssh_config"]:
        text += f"\nuse them: ssh -F {document['ssh_config']} {document['appliances'][0]['serial']}"
    text += "".join(f"\nnote: {note}" for note in document["notes"])
    return tell(args, document, text)


async def _signed(bastion: "OpenedBastion", args: argparse.Namespace, public: str) -> dict[str, Any]:
    """Check the request against the store, let keyd sign, write the files; gives what was done."""
    from daemons.support.command_line import write_out

    engineer = await bastion.store.engineers.known(args.engineer)
    case = await bastion.store.cases.known(args.case)
    serials = _serials(case, engineer, args)
    roles = _roles(engineer, public, args.forwarding)
    minutes = args.minutes if args.minutes is not None else bastion.section.certificate_minutes
    bastion.note("certificate", engineer=engineer.name, case=case.number, serials=serials, roles=roles, minutes=minutes)
    certificate = await bastion.keyd.sign_engineer(
        public, engineer.name, case.number, serials, life_s=minutes * 60, roles=roles
    )
    out = args.out or args.key.with_name(args.key.name.removesuffix(".pub") + "-cert.pub")
    write_out(out, f"{certificate}\n")
    document: dict[str, Any] = {
        "certificate": str(out),
        "engineer": engineer.name,
        "case": case.number,
        "serials": serials,
        "roles": roles,
        "minutes": minutes,
        "appliances": [],
        "ssh_config": "",
        "notes": [],
    }
    if not case.approved_at and bastion.section.approval == "second-person":
        document["notes"].append(
            f"case {case.number} is not approved; `gatepost bastion case approve {case.number} --by NAME` does it"
        )
    if args.forwarding:
        from daemons.support.jump import Holder, certify_appliances

        holder = Holder(public, args.key.absolute(), out.absolute(), minutes * 60)
        await certify_appliances(bastion, case, serials, holder, document)
    return document


def _serials(case: "Case", engineer: "EngineerEntry", args: argparse.Namespace) -> list[str]:
    """Give the appliances that the certificate opens; they and the engineer belong to the case."""
    from daemons.support.command_line import serial_name
    from tunnel.bastion.store.case import not_of_case

    if engineer.name not in case.engineers:
        raise GatepostError(
            f"{engineer.name} does not work on case {case.number}; "
            f"`gatepost bastion case open {case.number} --engineer {engineer.name}` adds {engineer.name}",
            EX_UNAVAILABLE,
        )
    serials = [serial_name(serial) for serial in args.serials] or [row.serial for row in case.serials]
    for serial in serials:
        if case.row(serial) is None:
            raise not_of_case(case.number, serial)
    if not serials:
        raise GatepostError(
            f"case {case.number} has no appliance; `gatepost bastion case open {case.number} --serial SERIAL` adds one",
            EX_UNAVAILABLE,
        )
    return serials


def _roles(engineer: "EngineerEntry", public: str, forwarding: bool) -> list[str]:
    """Give what the certificate may carry; the key has to be one of the engineer's."""
    from core.ssh import same_key
    from tunnel.keyd import api

    if not any(same_key(key, public) for key in engineer.keys):
        raise GatepostError(
            f"this key is not one of {engineer.name}'s; "
            f"`gatepost bastion engineer add {engineer.name} --key FILE` enters it",
            EX_NOPERM,
        )
    if forwarding and api.FORWARD not in engineer.roles:
        roles = ",".join((*engineer.roles, api.FORWARD))
        raise GatepostError(
            f"{engineer.name} has not the role to go straight through; "
            f"`gatepost bastion engineer add {engineer.name} --roles {roles}` gives it",
            EX_NOPERM,
        )
    return [role for role in api.ROLES if role in engineer.roles and (forwarding or role != api.FORWARD)]
