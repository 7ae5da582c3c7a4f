"""`gatepost bastion case …`, `gatepost bastion password`: who works on what, approved by whom, with which seed string.

A seed string comes from a prompt without echo or from standard input, never from the command line. A mistyped one
is told by its checksum before anything is asked or counted; then keyd compares it with what the appliance has
published, so that the appliance is not touched by a wrong one.
"""

import argparse
import time
from typing import TYPE_CHECKING, Any

from core.errors import EX_DATAERR, EX_OK, EX_UNAVAILABLE, EX_USAGE, GatepostError

if TYPE_CHECKING:
    from daemons.support.opened_bastion import OpenedBastion
    from tunnel.bastion.store import Case, CaseSerial, Grant
    from tunnel.keyd.api import PasswordGiven


def add_arguments(verbs: Any) -> None:
    """Describe the commands."""
    from daemons.support.command_line import add_common, add_json

    case = verbs.add_parser("case", help="support cases: open, seed, approve, close")
    acts = case.add_subparsers(dest="act", required=True, metavar="VERB")
    opened = acts.add_parser("open", help="open a case, or add to one: what is added needs an approval")
    opened.add_argument("number", metavar="NUMBER")
    opened.add_argument("--serial", action="append", default=[], metavar="SERIAL", help="an appliance of the case")
    opened.add_argument("--engineer", action="append", default=[], metavar="NAME", help="who works on it")
    opened.add_argument("--via", metavar="SERIAL", help="the appliance through which the --serial is reached …")
    opened.add_argument("--address", metavar="IP", help="… and where it is from there")
    seed = acts.add_parser("seed", help="take the seed string of an appliance, from a prompt or standard input")
    approve = acts.add_parser("approve", help="approve a case, as somebody who does not work on it")
    approve.add_argument("number", metavar="NUMBER")
    approve.add_argument("--by", required=True, metavar="NAME")
    close = acts.add_parser("close", help="close a case: its grants are forgotten")
    close.add_argument("number", metavar="NUMBER")
    shown = acts.add_parser("show", help="show a case and what it lacks")
    shown.add_argument("number", metavar="NUMBER")
    listed = acts.add_parser("list", help="list the open cases")
    listed.add_argument("--all", action="store_true", help="closed ones too")
    password = verbs.add_parser("password", help="give the next one-time password of an appliance of a case")
    for parser in (seed, password):
        parser.add_argument("number", metavar="NUMBER")
        parser.add_argument("serial", metavar="SERIAL")
    add_json(shown, listed, seed, password)
    actions = (_open, _seed, _approve, _close, _show, _list, _password)
    for parser, action in zip((opened, seed, approve, close, shown, listed, password), actions, strict=True):
        add_common([parser], action)


def _open(args: argparse.Namespace) -> int:
    from daemons.support.command_line import last_seen, serial_name, word
    from daemons.support.opened_bastion import OpenedBastion, with_bastion
    from tunnel.bastion.store import Case, CaseSerial, Enrolled

    number = word(args.number, "case")
    serials = [CaseSerial(serial=serial_name(serial)) for serial in args.serial]
    if args.via or args.address:
        serials = [_behind(args, [one.serial for one in serials])]
    names = [word(name, "engineer") for name in args.engineer]

    async def work(bastion: OpenedBastion) -> tuple[Case, list[Enrolled], list[str]]:
        facts = {"serials": [one.serial for one in serials], "engineers": names}
        bastion.note("case", case=number, **facts)
        case = await bastion.store.cases.open(number, serials, names)
        seats = {seat.serial for seat in await bastion.store.seats.all()}
        known = [await bastion.store.appliances.get(one.serial) for one in case.serials if not one.via]
        gone = [one for one in known if one is not None and one.serial not in seats]
        return case, gone, (await _shown(bastion, case))["lacks"]

    case, away, lacks = with_bastion(args, work)
    print(f"case {number}: {', '.join(one.serial for one in case.serials) or 'no appliance yet'}; "
          f"{', '.join(case.engineers) or 'no engineer yet'}")  # fmt: skip
    for appliance in away:
        print(f"{appliance.serial} is not connected: {last_seen(appliance, time.time())}")
    for command in lacks:
        print(f"next: {command}")
    return EX_OK


def _behind(args: argparse.Namespace, serials: list[str]) -> "CaseSerial":
    """Give the appliance that is reached through another one."""
    import ipaddress

    from daemons.support.command_line import serial_name
    from tunnel.bastion.store import CaseSerial

    if len(serials) != 1 or not args.via or not args.address:
        raise GatepostError("--via and --address go together, with one --serial: the appliance behind", EX_USAGE)
    try:
        address = str(ipaddress.ip_address(args.address))
    except ValueError as error:
        raise GatepostError(f"--address {error}", EX_USAGE) from error
    via = serial_name(args.via)
    if via == serials[0]:
        raise GatepostError(f"{args.via} cannot be reached through itself", EX_USAGE)
    return CaseSerial(serial=serials[0], via=via, address=address)


def _seed(args: argparse.Namespace) -> int:
    from daemons.support.command_line import serial_name, stamp, tell, word
    from daemons.support.opened_bastion import with_bastion

    number, serial = word(args.number, "case"), serial_name(args.serial)
    grant, checked = with_bastion(args, lambda bastion: _take_seed(bastion, number, serial))
    document = {
        "case": number,
        "serial": serial,
        "seed_fingerprint": grant.fingerprint,
        "mode": grant.mode,
        "until": grant.until_at,
        "checked": checked,
    }
    how = "it fits"
    if not checked:
        how = "for SSHACCESS: it could not be compared, this appliance has no tunnel open; take it again if one opens"
    text = f"{serial}: seed string taken, {how}; fingerprint {grant.fingerprint}, until {stamp(grant.until_at)}"
    return tell(args, document, text)


async def _take_seed(bastion: "OpenedBastion", number: str, serial: str) -> "tuple[Grant, bool]":
    """Ask for the seed, let keyd derive the keys, and keep the grant."""
    from daemons.support.opened_bastion import user_name
    from tunnel.bastion.store import Grant
    from tunnel.bastion.store.case import not_of_case
    from tunnel.keyd import api

    case = await bastion.store.cases.known(number)
    if case.row(serial) is None:
        raise not_of_case(number, serial)
    appliance = await bastion.store.appliances.get(serial)
    if appliance is None or not appliance.exchange_key:
        raise GatepostError(
            f"{serial.upper()} was enrolled without an exchange key; "
            f"`gatepost bastion enroll {serial.upper()} --request FILE` with a new request adds it",
            EX_DATAERR,
        )
    seed = _ask_for_seed(serial)
    known = await bastion.store.appliances.published(serial)
    current = known is not None and not known.withdrawn_at and known.until_at > time.time()
    published = None
    if known is not None and current:
        published = api.Published(
            fingerprint=known.fingerprint, mode=known.mode.lower(), key_id=known.key_id, day=known.day
        )
    bastion.note("seed", case=number, serial=serial)
    granted = await bastion.keyd.grant(
        number,
        serial,
        appliance_key=appliance.exchange_key,
        seed=seed,
        engineer=user_name(),
        published=published,
    )
    grant = Grant(
        case=number,
        serial=serial,
        grant_id=granted.grant_id,
        fingerprint=granted.fingerprint,
        mode=granted.mode,
        until_at=granted.until_at,
        given_at=time.time(),
        node=bastion.section.node,
    )
    former = await bastion.store.cases.grant(grant)
    if former is not None and former.node == grant.node:
        await bastion.keyd.forget(former.grant_id)
    return grant, granted.checked


def _ask_for_seed(serial: str) -> str:
    """Get the seed string from a prompt without echo or from standard input. Raises status 65 for a mistyped one."""
    import getpass
    import sys

    from tunnel.seed.code import read

    prompt = f"Seed string of {serial.upper()}: "
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline(1024)
    if not text.strip():
        raise GatepostError("no seed string was given; the administrator of the appliance has it", EX_USAGE)
    read(text)
    return text.strip()


def _approve(args: argparse.Namespace) -> int:
    from daemons.support.command_line import word
    from daemons.support.opened_bastion import OpenedBastion, with_bastion

    number, by = word(args.number, "case"), word(args.by, "engineer")

    async def work(bastion: OpenedBastion) -> None:
        bastion.note("case-approve", case=number, by=by)
        await bastion.store.cases.approve(number, by)

    with_bastion(args, work)
    print(f"case {number} is approved by {by}")
    return EX_OK


def _close(args: argparse.Namespace) -> int:
    from daemons.support.command_line import word
    from daemons.support.opened_bastion import OpenedBastion, with_bastion

    number = word(args.number, "case")

    async def work(bastion: OpenedBastion) -> "list[Grant]":
        bastion.note("case-closed", case=number)
        _, grants = await bastion.store.cases.close(number)
        await bastion.recheck()
        own = [grant for grant in grants if grant.node == bastion.section.node]
        try:
            for grant in own:
                await bastion.keyd.forget(grant.grant_id)
        except GatepostError as error:
            print(f"keyd keeps the keys of case {number} until they run out: {error.text}")
        return grants

    gone = with_bastion(args, work)
    print(f"case {number} is closed; {len(gone)} grants are gone")
    return EX_OK


async def _shown(bastion: "OpenedBastion", case: "Case") -> dict[str, Any]:
    """Give the document of one case."""
    import msgspec

    now = time.time()
    grants = {grant.serial: grant for grant in await bastion.store.cases.grants(case.number)}
    document: dict[str, Any] = msgspec.to_builtins(case)
    for row in document["serials"]:
        grant = grants.get(row["serial"])
        published = await bastion.store.appliances.published(row["serial"])
        good = grant is not None and grant.until_at > now and not (published and published.supersedes(grant, now))
        row["granted_until"] = grant.until_at if grant and good else None
        row["seed_fingerprint"] = grant.fingerprint if grant else ""
    return {**document, "lacks": _lacks(document, bastion.section.approval)}


def _lacks(document: dict[str, Any], approval: str) -> list[str]:
    """Name the commands that a case still needs before anybody may work on it."""
    number = document["number"]
    if document["closed_at"]:
        return []
    lacks = []
    if not document["serials"]:
        lacks.append(f"gatepost bastion case open {number} --serial SERIAL")
    if not document["engineers"]:
        lacks.append(f"gatepost bastion case open {number} --engineer NAME")
    lacks += [
        f"gatepost bastion case seed {number} {row['serial'].upper()}"
        for row in document["serials"]
        if not row["granted_until"]
    ]
    if not document["approved_at"] and approval == "second-person":
        lacks.append(f"gatepost bastion case approve {number} --by NAME")
    return lacks


def _show(args: argparse.Namespace) -> int:
    from daemons.support.command_line import stamp, tell, word
    from daemons.support.opened_bastion import OpenedBastion, with_bastion

    number = word(args.number, "case")

    async def work(bastion: OpenedBastion) -> dict[str, Any]:
        case = await bastion.store.cases.get(number)
        return await _shown(bastion, case or await bastion.store.cases.known(number))

    found = with_bastion(args, work)
    approved = f"approved {stamp(found['approved_at'])} by {found['approved_by']}" if found["approved_at"] else ""
    lines = [
        f"case {number}: opened {stamp(found['opened_at'])}, {approved or 'not approved'}"
        + (f", closed {stamp(found['closed_at'])}" if found["closed_at"] else ""),
        f"engineers: {', '.join(found['engineers']) or 'none'}",
    ]
    for row in found["serials"]:
        way = f"\n  at {row['address']}, behind {row['via']}" if row["via"] else ""
        missing = "seed string of a former access" if row["seed_fingerprint"] else "no seed string"
        until = f"seed string taken, until {stamp(row['granted_until'])}" if row["granted_until"] else missing
        lines.append(f"appliance {row['serial']}: {until}{way}")
    return tell(args, found, "\n".join([*lines, *(f"next: {command}" for command in found["lacks"])]))


def _list(args: argparse.Namespace) -> int:
    from daemons.support.command_line import stamp, tell
    from daemons.support.opened_bastion import OpenedBastion, with_bastion
    from ops.cli.table import Column, table

    async def work(bastion: OpenedBastion) -> list[dict[str, Any]]:
        return [await _shown(bastion, case) for case in await bastion.store.cases.all(closed=args.all)]

    found = with_bastion(args, work)
    heads = [Column(name) for name in ("Case", "State", "Opened", "Engineers", "Appliances")]
    rows = [
        [
            one["number"],
            "closed" if one["closed_at"] else "ready" if not one["lacks"] else "open",
            stamp(one["opened_at"]),
            ", ".join(one["engineers"]) or "-",
            ", ".join(row["serial"] for row in one["serials"]) or "-",
        ]
        for one in found
    ]
    text = table(heads, rows) if rows else "No case is open; `gatepost bastion case open NUMBER …` opens one."
    return tell(args, {"cases": found}, text)


def _password(args: argparse.Namespace) -> int:
    from daemons.support.command_line import serial_name, tell, word
    from daemons.support.opened_bastion import with_bastion

    number, serial = word(args.number, "case"), serial_name(args.serial)
    given = with_bastion(args, lambda bastion: _next_password(bastion, number, serial))
    text = f"{given.password}\npassword {given.number} of {serial}, good for one login; {given.left} are left"
    document = {"serial": serial, "password": given.password, "number": given.number, "left": given.left}
    return tell(args, document, text)


async def _next_password(bastion: "OpenedBastion", number: str, serial: str) -> "PasswordGiven":
    """Give the next one-time password of an approved case."""
    case = await bastion.store.cases.known(number)
    if not case.approved_at and bastion.section.approval == "second-person":
        raise GatepostError(
            f"case {number} is not approved; `gatepost bastion case approve {number} --by NAME` does it", EX_UNAVAILABLE
        )
    grant = await current_grant(bastion, case, serial)
    bastion.note("password", case=number, serial=serial)
    return await bastion.keyd.password(grant.grant_id)


async def current_grant(bastion: "OpenedBastion", case: "Case", serial: str) -> "Grant":
    """Give the grant for an appliance of a case that this machine's keyd has. Raises GatepostError with the remedy."""
    from tunnel.bastion.store.case import not_of_case

    if case.row(serial) is None:
        raise not_of_case(case.number, serial)
    grant = await bastion.store.cases.granted(case.number, serial)
    if grant is None or grant.until_at <= time.time():
        raise GatepostError(
            f"case {case.number} has no seed string of {serial.upper()} that is good now; "
            f"`gatepost bastion case seed {case.number} {serial.upper()}` takes one",
            EX_UNAVAILABLE,
        )
    if grant.node != bastion.section.node:
        raise GatepostError(f"the seed string of {serial.upper()} was taken on {grant.node}; ask there", EX_UNAVAILABLE)
    return grant
