"""`gatepost bastion support-key`: the keys that appliances derive with, and how one follows the other.

All of it is asked of keyd. Listing is for the bastion's user as well; making and retiring are for keyd's own and root.
"""

import argparse
import os
import pwd
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunnel.keyd.api import SupportKey


def add_arguments(verbs: Any) -> None:
    """Describe the commands."""
    from daemons.support.command_line import add_common, add_json

    keys = verbs.add_parser("support-key", help="the keys that appliances derive with: list, new, retire")
    acts = keys.add_subparsers(dest="act", required=True, metavar="VERB")
    shown = acts.add_parser("list", help="show them, and what stands in the appliances' configuration")
    new = acts.add_parser("new", help="make the next one, beside the one in use")
    retire = acts.add_parser("retire", help="delete one: seeds made for it are not understood any more")
    retire.add_argument("number", type=int, metavar="NUMBER")
    retire.add_argument("--force", action="store_true", help="although grants made with it are open")
    add_json(shown, new, retire)
    add_common([shown, new, retire], _act)
    for parser in (new, retire):
        parser.set_defaults(as_owner=False)  # keyd lets root do that, and not the machine's owner


def _act(args: argparse.Namespace) -> int:
    import msgspec

    from core.errors import EX_USAGE, GatepostError
    from daemons.machine import machine_for
    from daemons.support.command_line import tell
    from tunnel.keyd.client import Keyd, asked

    machine = machine_for("gatepost bastion support-key", args.config, ("bastion",))
    keyd = Keyd(machine.socket("keyd"), of_users=_believed(machine.config))
    if args.act == "new":
        asked(keyd.rotate())
    elif args.act == "retire":
        if not 1 <= args.number <= 31:
            raise GatepostError(f"a support key has a number from 1 to 31, not {args.number}", EX_USAGE)
        asked(keyd.rotate(retire=args.number, force=args.force))
    public = asked(keyd.public())
    lines = [f"{key.key_id} {key.public}" for key in reversed(public.support_keys)]
    tunnel = {"support_keys": lines, "bastion_cas": [" ".join(public.host_ca.split()[:2])]}
    document = {"support_keys": msgspec.to_builtins(public.support_keys), "tunnel": tunnel}
    return tell(args, document, _text(public.support_keys, tunnel))


def _believed(config: Path) -> tuple[int, ...]:
    """Give whose keyd root believes: the bastion's user owns run/ and could have keys of its own shown to root."""
    from daemons.owner import owner_of
    from daemons.systemd.folder import KEYD_OWNER

    if os.geteuid() != 0 or owner_of(config) == 0:
        return ()
    try:
        return 0, pwd.getpwnam(KEYD_OWNER).pw_uid
    except KeyError:  # not installed as units: keyd runs as whoever started it
        return ()


def _text(keys: "Sequence[SupportKey]", tunnel: dict[str, list[str]]) -> str:
    rows = ["number  made        last used   key"]
    rows += [f"{key.key_id:<6}  {_day(key.made_at)}  {_day(key.last_used_at)}  {key.public}" for key in keys]
    rows += ["", "In the configuration of every appliance (the first key is used from then on):", "[tunnel]"]
    for name, values in tunnel.items():
        quoted = ", ".join(f'"{value}"' for value in values)
        rows.append(f"{name} = [{quoted}]")
    return "\n".join(rows)


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).date()}" if at else "never     "
