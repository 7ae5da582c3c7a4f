"""`gatepost bastion …`: enrol appliances and sign engineers' certificates, on the support organisation's host."""

import argparse
from pathlib import Path

from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_OK, GatepostError


def add_arguments(bastion: argparse.ArgumentParser) -> None:
    """Describe the command to the executable."""
    verbs = bastion.add_subparsers(dest="verb", required=True, metavar="VERB")
    request = verbs.add_parser("request", help="on an appliance: write the file that enrols it")
    request.add_argument("--out", type=Path, required=True, metavar="FILE")
    request.set_defaults(action=_request)
    enroll = verbs.add_parser("enroll", help="on the bastion: let an appliance dial in")
    enroll.add_argument("serial", metavar="SERIAL")
    enroll.add_argument("--request", type=Path, required=True, metavar="FILE", help="what `bastion request` wrote")
    enroll.add_argument("--replace", action="store_true", help="the machine with this serial was replaced")
    enroll.set_defaults(action=_enroll)
    authority = verbs.add_parser("ca", help="the engineers' certificate authority").add_subparsers(
        dest="act", required=True, metavar="VERB"
    )
    sign = authority.add_parser("sign", help="on the bastion: sign a certificate for an engineer")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="the engineer's public key (.pub)")
    sign.add_argument("--engineer", required=True, metavar="NAME")
    sign.add_argument("--case", required=True, metavar="NUMBER")
    sign.add_argument("--serials", required=True, nargs="+", metavar="SERIAL", help="appliances of the case")
    sign.add_argument("--minutes", type=float, default=None, help="life (default: certificate_minutes)")
    sign.add_argument("--forwarding", action="store_true", help="allow ssh -J, which is not recorded here")
    sign.add_argument("--out", type=Path, metavar="FILE", help="default: beside the key, -cert.pub")
    sign.set_defaults(action=_sign)
    for sub in (request, enroll, sign):
        sub.add_argument("--config", type=Path, required=True, metavar="FILE", help="the machine's gatepost.toml")


def _write(file: Path, content: bytes) -> None:
    try:
        replace_file(Disk(), file, content, mode=0o644)
    except OSError as error:
        text = f"{file}: cannot be written: {error.strerror}; choose another place with --out"
        raise GatepostError(text, EX_CANTCREAT) from error


def _request(args: argparse.Namespace) -> int:
    import msgspec

    from core.ssh import key as ssh_key
    from daemons.machine import machine_for

    machine = machine_for("gatepost bastion request", args.config, ("esa", "sma"))
    facts = {"serial": machine.serial}
    for name in ("tunnel", "host"):
        facts[f"{name}_key"] = ssh_key.public_text(ssh_key.read_key(machine.keys / f"{name}_ed25519"))
    _write(args.out, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
    print(f"{args.out}: take it to the bastion: gatepost bastion enroll {machine.serial} --request FILE --config …")
    return EX_OK


def _enroll(args: argparse.Namespace) -> int:
    import msgspec

    from daemons.machine import machine_for
    from tunnel.bastion.registry import Registry

    machine = machine_for("gatepost bastion enroll", args.config, ("bastion",))
    try:
        facts = msgspec.json.decode(args.request.read_bytes(), type=dict[str, str])
        keys = facts["tunnel_key"], facts["host_key"]
    except OSError as error:
        raise GatepostError(f"{args.request}: {error.strerror}", EX_NOINPUT) from error
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise GatepostError(
            f"{args.request}: not a file that `gatepost bastion request` wrote: {error}", EX_DATAERR
        ) from error
    if facts.get("serial", "").lower() != args.serial.lower():
        text = (
            f"{args.request} is the request of {facts.get('serial')}, not of {args.serial}; check which machine it is"
        )
        raise GatepostError(text, EX_DATAERR)
    enrolled = Registry(machine.registry).enroll(args.serial, *keys, replace=args.replace)
    print(f"{enrolled.serial} may dial in")
    return EX_OK


def _sign(args: argparse.Namespace) -> int:
    from typing import cast

    from core.ssh import key as ssh_key
    from daemons.config import Bastion
    from daemons.machine import machine_for
    from tunnel.identity import sign_engineer

    machine = machine_for("gatepost bastion ca sign", args.config, ("bastion",))
    minutes = args.minutes
    if minutes is None:
        minutes = cast(Bastion, machine.document).bastion.certificate_minutes
    key = ssh_key.parse_public(ssh_key.read_public(args.key))
    authority = ssh_key.read_key(machine.keys / "engineer_ca_ed25519")
    certificate = sign_engineer(
        authority,
        key,
        engineer=args.engineer,
        case=args.case,
        serials=args.serials,
        life_s=minutes * 60,
        forwarding=args.forwarding,
    )
    out = args.out or args.key.with_name(args.key.name.removesuffix(".pub") + "-cert.pub")
    _write(out, ssh_key.certificate_text(certificate).encode() + b"\n")
    print(f"{out}: valid for {minutes:g} minutes, case {args.case}")
    return EX_OK
