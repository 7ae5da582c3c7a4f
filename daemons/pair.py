"""`gatepost pair`: on the management host, pair it with a gateway whose console answers."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from core.errors import EX_OK, EX_USAGE, GatepostError
from core.runtime import run
from core.ssh import key as ssh_key
from cpq.pair import Introduction, accept, pair
from daemons.config import Esa, Sma
from daemons.machine import Machine, machine_for
from daemons.owner import act_as_owner, add_config


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command to the executable."""
    sub.set_defaults(action=_pair)
    add_config(sub, as_owner=False)
    sub.add_argument("--appliance", required=True, metavar="HOST:PORT", help="the gateway's console")
    sub.add_argument("--user", default="admin", help="administrator there (default admin)")
    sub.add_argument("--key", type=Path, required=True, metavar="FILE", help="that administrator's private key")
    sub.add_argument(
        "--fingerprint", default="", help="expected fingerprint of the gateway's host key; left out: it is asked"
    )


def introduction_of(machine: Machine) -> Introduction:
    """Say who this machine is, as the other side of a pairing needs it."""
    document = cast(Esa | Sma, machine.document)
    command_key = ""
    if machine.role == "sma":
        command_key = ssh_key.public_text(ssh_key.read_key(machine.keys / "command_client_ed25519"))
    return Introduction(
        serial=machine.serial,
        role=machine.role,
        certificate=(machine.keys / "cpq.crt").read_text(),
        address=document.cpq.public_address or document.cpq.address,
        port=document.cpq.port,
        command_key=command_key,
    )


def pairing_verb(machine: Machine) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
    """Give what `cpq pair DOCUMENT` does on a gateway."""

    async def verb(document: dict[str, Any]) -> dict[str, Any]:
        own = accept(machine.pairings(), introduction_of(machine), document)
        return cast(dict[str, Any], msgspec.to_builtins(own))

    return verb


def _pair(args: argparse.Namespace) -> int:
    key = ssh_key.read_key(args.key)  # the administrator's own file, whom root may stand for
    act_as_owner(args.config)
    machine = machine_for("gatepost pair", args.config, ("sma",))
    host, _, port = args.appliance.rpartition(":")
    if not host or not port.isdigit():
        raise GatepostError(f"--appliance {args.appliance}: write HOST:PORT", EX_USAGE)
    own = introduction_of(machine)

    async def confirm(fingerprint: str) -> bool:
        if args.fingerprint:
            return bool(fingerprint == args.fingerprint)
        print(f"The console at {args.appliance} shows the host key {fingerprint}.")
        answer = await asyncio.to_thread(input, "Is this the gateway's key? [N]> ") if sys.stdin.isatty() else ""
        return answer.strip().lower() in ("y", "yes")

    async def main() -> int:
        made = await pair(
            machine.pairings(), own, host=host, port=int(port), username=args.user, key_path=key, confirm=confirm
        )
        print(f"paired with {made.serial} ({made.address}:{made.port}), certificate {made.certificate_fingerprint}")
        return EX_OK

    return run(main())
