"""`gatepost bastion request|enroll|thaw|appliances`: which appliances the bastion knows.

`request` runs on the appliance and prints its public keys as a small document, which may travel by any road: a file,
a mail, a screen. The rest runs on the bastion.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from core.errors import EX_DATAERR, EX_NOINPUT, EX_OK, GatepostError

if TYPE_CHECKING:
    from tunnel.bastion.store import Enrolled


def add_arguments(verbs: Any) -> None:
    """Describe the commands."""
    from daemons.support.command_line import add_common, add_json

    request = verbs.add_parser("request", help="on an appliance: write the file that enrols it")
    request.add_argument("--out", type=Path, metavar="FILE", help="default: standard output, to be carried by hand")
    enroll = verbs.add_parser("enroll", help="let an appliance dial in")
    enroll.add_argument("serial", metavar="SERIAL")
    enroll.add_argument(
        "--request", type=Path, required=True, metavar="FILE", help="what `bastion request` wrote; - is standard input"
    )
    enroll.add_argument("--replace", action="store_true", help="the machine with this serial was replaced")
    thaw = verbs.add_parser("thaw", help="let an appliance in again that was frozen as a copy, after you have looked")
    thaw.add_argument("serials", nargs="+", metavar="SERIAL")
    appliances = verbs.add_parser("appliances", help="list the appliances: connected, last seen, frozen, access")
    add_json(appliances)
    for parser, action in ((request, _request), (enroll, _enroll), (thaw, _thaw), (appliances, _appliances)):
        add_common([parser], action)
    enroll.set_defaults(read_first=_read_request)


def _request(args: argparse.Namespace) -> int:
    import msgspec

    from core import agreement
    from core.ssh import key as ssh_key
    from daemons.config import Appliance
    from daemons.machine import machine_for
    from daemons.support.command_line import write_out
    from tunnel.config import series_of

    machine = machine_for("gatepost bastion request", args.config, ("esa", "sma"))
    section = cast(Appliance, machine.document).tunnel
    facts = {"serial": machine.serial, "series": series_of(section, machine.role)}
    for name in ("tunnel", "host"):
        facts[f"{name}_key"] = ssh_key.public_text(ssh_key.read_key(machine.keys / f"{name}_ed25519"))
    facts["exchange_key"] = agreement.encode(
        agreement.public_of(agreement.ensure_key(machine.keys / "exchange_x25519"))
    )
    document = msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n"
    if args.out is None:
        sys.stdout.write(document)
        return EX_OK
    write_out(args.out, document)
    print(f"{args.out}: take it to the bastion: gatepost bastion enroll {machine.serial} --request FILE")
    return EX_OK


def _enroll(args: argparse.Namespace) -> int:
    from daemons.machine import machine_for
    from daemons.support.opened_bastion import OpenedBastion, with_bastion

    machine_for("gatepost bastion enroll", args.config, ("bastion",))
    wanted = _parsed(args.request, args.content)
    if wanted.serial.lower() != args.serial.lower():
        text = f"{args.request} is the request of {wanted.serial}, not of {args.serial}; check which machine it is"
        raise GatepostError(text, EX_DATAERR)

    async def work(bastion: OpenedBastion) -> "Enrolled":
        bastion.note("enroll", serial=wanted.serial.lower(), replace=args.replace)
        enrolled = await bastion.store.appliances.enroll(wanted, replace=args.replace)
        if args.replace:
            await bastion.recheck()
        return enrolled

    enrolled = with_bastion(args, work)
    print(f"{enrolled.serial} may dial in")
    if not enrolled.exchange_key:
        print("the request has no exchange key: no seed string can be used; make it again with this release")
    return EX_OK


def _read_request(args: argparse.Namespace) -> None:
    try:
        args.content = sys.stdin.buffer.read(65_536) if str(args.request) == "-" else args.request.read_bytes()
    except OSError as error:
        args.content = error


def _parsed(file: Path, content: bytes | OSError) -> "Enrolled":
    """Give what the document of `bastion request` says."""
    import msgspec

    from tunnel.bastion.store import Enrolled

    if isinstance(content, OSError):
        raise GatepostError(f"{file}: {content.strerror}", EX_NOINPUT) from content
    try:
        facts = msgspec.json.decode(content, type=dict[str, str])
        return Enrolled(
            serial=facts["serial"],
            tunnel_key=facts["tunnel_key"],
            host_key=facts["host_key"],
            exchange_key=facts.get("exchange_key", ""),
            series=facts.get("series", ""),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise GatepostError(f"{file}: not a file that `gatepost bastion request` wrote: {error}", EX_DATAERR) from error


def _thaw(args: argparse.Namespace) -> int:
    from daemons.support.command_line import serial_name
    from daemons.support.opened_bastion import OpenedBastion, with_bastion

    names = [serial_name(serial) for serial in args.serials]

    async def work(bastion: OpenedBastion) -> None:
        for name in names:
            bastion.note("thaw", serial=name)
            await bastion.store.appliances.thaw(name)

    with_bastion(args, work)
    for name in names:
        print(f"{name}: the next machine that comes with its keys is taken as the right one")
    return EX_OK


def _appliances(args: argparse.Namespace) -> int:
    from daemons.support.command_line import stamp, tell
    from daemons.support.opened_bastion import OpenedBastion, with_bastion
    from ops.cli.table import Column, table

    async def work(bastion: OpenedBastion) -> list[dict[str, Any]]:
        seats = {seat.serial: seat for seat in await bastion.store.seats.all()}
        shown = []
        for one in await bastion.store.appliances.all():
            published = await bastion.store.appliances.published(one.serial)
            seat = seats.get(one.serial)
            shown.append(
                {
                    "serial": one.serial,
                    "series": one.series,
                    "connected": seat is not None,
                    "node": seat.node if seat else None,
                    "last_seen_at": one.last_seen_at or None,
                    "generation": max(one.generation, 0),
                    "frozen": bool(one.frozen_at),
                    "frozen_why": one.frozen_why,
                    "enrolled_at": one.enrolled_at,
                    "seed_strings": bool(one.exchange_key),
                    "mode": published.mode if published and not published.withdrawn_at else "",
                    "until": published.until_at if published and not published.withdrawn_at else None,
                    "seed_fingerprint": published.fingerprint if published else "",
                }
            )
        return shown

    found = with_bastion(args, work)
    heads = [Column(name) for name in ("Appliance", "State", "Last Seen", "Access Until")]
    rows = [
        [
            one["serial"],
            "frozen" if one["frozen"] else "connected" if one["connected"] else "away",
            stamp(one["last_seen_at"] or 0),
            stamp(one["until"]) if one["until"] else "-",
        ]
        for one in found
    ]
    text = table(heads, rows) if rows else "No appliance is enrolled; `gatepost bastion enroll` does it."
    text += "".join(f"\n{one['serial']} is frozen: {one['frozen_why']}" for one in found if one["frozen"])
    return tell(args, {"appliances": found}, text)
