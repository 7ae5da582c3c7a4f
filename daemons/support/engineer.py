"""`gatepost bastion engineer add|list|disable`: who may have certificates, and what they may carry."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import EX_OK, EX_USAGE, GatepostError

if TYPE_CHECKING:
    from tunnel.bastion.store import EngineerEntry


def add_arguments(verbs: Any) -> None:
    """Describe the commands."""
    from daemons.support.command_line import add_common, add_json

    engineer = verbs.add_parser("engineer", help="the engineers of the support organisation")
    acts = engineer.add_subparsers(dest="act", required=True, metavar="VERB")
    add = acts.add_parser("add", help="enter an engineer, or change one: what is not given stays as it is")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help="a public key (.pub)")
    add.add_argument("--roles", metavar="ROLE,…", help="shell, sftp, forward (ssh -J), emergency; default: shell,sftp")
    add.add_argument(
        "--hours", action="append", metavar="'DAYS FROM-TO [ZONE]'", help="such as 'mon-fri 08:00-18:00 Europe/Berlin'"
    )
    add.add_argument("--from", dest="sources", action="append", metavar="NETWORK", help="from where they may come in")
    add.add_argument("--replace-keys", action="store_true", help="the keys that are given are all there are")
    disable = acts.add_parser("disable", help="no more certificates and no more sessions for an engineer")
    disable.add_argument("name", metavar="NAME")
    shown = acts.add_parser("list", help="list the engineers")
    add_json(shown)
    for parser, action in ((add, _add), (disable, _disable), (shown, _list)):
        add_common([parser], action)
    add.set_defaults(read_first=_read_keys)


def _read_keys(args: argparse.Namespace) -> None:
    from core.ssh import key as ssh_key

    args.keys = [ssh_key.read_public(file) for file in args.key]


def _add(args: argparse.Namespace) -> int:
    from daemons.support.command_line import word
    from daemons.support.opened_bastion import OpenedBastion, with_bastion
    from tunnel.bastion.store import EngineerEntry

    name = word(args.name, "engineer")
    given: list[str] = args.keys

    async def work(bastion: OpenedBastion) -> EngineerEntry:
        known = await bastion.store.engineers.get(name)
        if known is None and not given:
            raise GatepostError(f"engineer {name} is new: give a public key with --key FILE", EX_USAGE)
        entry = _changed(known or EngineerEntry(name=name, roles=("shell", "sftp"), keys=()), args, given)
        bastion.note("engineer", **{key: getattr(entry, key) for key in ("name", "roles", "keys", "hours", "sources")})
        await bastion.store.engineers.put(entry)
        return entry

    entry = with_bastion(args, work)
    keys = "1 key" if len(entry.keys) == 1 else f"{len(entry.keys)} keys"
    print(f"engineer {name}: {', '.join(entry.roles)}; {keys}")
    return EX_OK


def _changed(known: "EngineerEntry", args: argparse.Namespace, given: list[str]) -> "EngineerEntry":
    """Give the entry with what the command line says."""
    import msgspec

    from core.ssh import same_key
    from tunnel.bastion.hours import networks, roles, windows

    kept = [] if args.replace_keys else list(known.keys)
    new = [key for key in given if not any(same_key(key, other) for other in kept)]
    changes: dict[str, Any] = {"keys": (*kept, *new), "disabled_at": 0.0}
    if args.roles is not None:
        changes["roles"] = roles(args.roles)
    if args.hours is not None:
        changes["hours"] = windows(args.hours)
    if args.sources is not None:
        changes["sources"] = networks(args.sources)
    if not changes["keys"]:
        raise GatepostError(f"engineer {known.name} needs a public key: --key FILE", EX_USAGE)
    return msgspec.structs.replace(known, **changes)


def _disable(args: argparse.Namespace) -> int:
    from daemons.support.command_line import word
    from daemons.support.opened_bastion import OpenedBastion, with_bastion

    name = word(args.name, "engineer")

    async def work(bastion: OpenedBastion) -> None:
        bastion.note("engineer-disabled", name=name)
        await bastion.store.engineers.disable(name)
        await bastion.recheck()

    with_bastion(args, work)
    print(f"engineer {name} is disabled: no certificate and no new session")
    return EX_OK


def _list(args: argparse.Namespace) -> int:
    import msgspec

    from core.ssh import fingerprint
    from daemons.support.command_line import tell
    from daemons.support.opened_bastion import OpenedBastion, with_bastion
    from ops.cli.table import Column, table
    from tunnel.bastion.store import EngineerEntry

    async def work(bastion: OpenedBastion) -> list[EngineerEntry]:
        return await bastion.store.engineers.all()

    found = with_bastion(args, work)
    heads = [Column(name) for name in ("Engineer", "State", "Roles", "Hours", "From")]
    rows = [
        [
            one.name,
            "disabled" if one.disabled_at else "active",
            ", ".join(one.roles),
            "; ".join(one.hours) or "always",
            ", ".join(one.sources) or "everywhere",
        ]
        for one in found
    ]
    text = "No engineer is entered; `gatepost bastion engineer add NAME --key FILE` does."
    if rows:
        keys = [f"{one.name}: key {fingerprint(key)}" for one in found for key in one.keys]
        text = "\n".join([table(heads, rows), "", *keys])
    return tell(args, {"engineers": [msgspec.to_builtins(one) for one in found]}, text)
