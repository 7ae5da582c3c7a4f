"""The executable `gatepost`: run a daemon, make a machine, check a configuration, operate it, run the lab.

Errors are one line on standard error with a sysexits status; wrong usage is 64. Whatever is heavy to import is
imported by the command that needs it.
"""

import argparse
import gc
import getpass
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from core.diagnostic import until_read
from core.errors import EX_OK, EX_OSERR, EX_SOFTWARE, EX_TEMPFAIL, EX_USAGE, ConfigError, GatepostError
from core.role import DAEMONS as NAMES
from core.role import roles_of
from daemons.owner import act_as_owner, add_config, name_of, owner_of, remark

if TYPE_CHECKING:
    from core.runtime import Daemon

DAEMONS = {name: roles_of(name) for name in NAMES}
"""Every daemon and the roles of the machines that it belongs on."""

MODULES = {
    "serve": ("serve", "run all daemons of this machine's role in one process tree: containers, laptops"),
    "init": ("initial", "make a new machine: keys, certificates and a commented configuration"),
    "health": ("health", "tell whether the daemons of this machine run, and whether it does its work"),
    "reload": ("reloading", "have a running daemon take the machine's configuration, and say whether it has"),
    "pair": ("pair", "pair this management host with a gateway, through the gateway's console"),
    "bastion": ("support.commands", "enrol appliances, keep cases and sign engineers' certificates"),
    "backup": ("keeping.backup", "write all that makes this machine into one file, while it runs"),
    "restore": ("keeping.restore", "make a machine of a backup, in a folder where there is none"),
    "password": (
        "password",
        "make the stored form of a password that is typed or piped in, for a [[smtp_user]] or [[user]]",
    ),
    "completion": ("shell.completion", "print a script that has bash, zsh or fish complete these commands"),
    "manual": ("shell.manual", "write the manual pages"),
    "systemd": ("systemd.commands", "install this machine's systemd units, users and links, or remove them"),
    "lab": ("laboratory", "run the whole system on this machine, on 127.0.0.0/8"),
}
"""Commands with a module of their own: `add_arguments(parser)`, which also sets the `action`."""


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors leave with EX_USAGE and say where help is."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong on one line."""
        sys.stderr.write(f"{self.prog}: {message}; see {self.prog} --help\n")
        raise SystemExit(EX_USAGE)


def _nothing(_: argparse.Namespace) -> int:
    return EX_USAGE


def _run(args: argparse.Namespace) -> int:
    from core.runtime import run_daemon
    from core.service_manager import ServiceManager
    from daemons.ahead import import_ahead
    from daemons.machine import machine_for

    manager = ServiceManager()
    manager.begin()
    machine = machine_for(args.daemon, args.config, DAEMONS[args.daemon])
    _warn_root(args.daemon, machine.dir, owner_of(args.config))
    import_ahead(args.daemon)
    daemon = _build(args)
    machine.note(f"{daemon.name}: started, version {importlib.metadata.version('gatepost')}, process {os.getpid()}")
    status = EX_SOFTWARE
    try:
        status = run_daemon(daemon, manager)
    finally:
        machine.note(f"{daemon.name}: ended, status {status}")
    return status


def _warn_root(daemon: str, folder: Path, owner: int) -> None:
    if os.geteuid() == 0 and owner != 0:
        from core.diagnostic import WARNING, say

        user = name_of(owner)
        remedy = f"start the unit gatepost-{daemon}, or: runuser -u {user} -- gatepost run {daemon}"
        say(
            WARNING,
            f"{daemon}: runs as root on a machine of {user} ({folder}), who may not write what it leaves; {remedy}",
        )


def _build(args: argparse.Namespace) -> "Daemon":
    """Wire a daemon; what it cannot open or may not read is one line that names the file."""
    from core.journal.error import JournalBusy

    root = importlib.import_module(f"daemons.{args.daemon.replace('-', '_')}")
    options = {"instance": args.instance} if args.daemon == "gateway" else {}
    try:
        daemon: Daemon = root.build(args.config, **options)
    except JournalBusy as busy:
        raise GatepostError(f"{args.daemon}: {busy}; does it run already?", EX_TEMPFAIL) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        remedy = f"; it runs as {getpass.getuser()}, who needs this file" if isinstance(error, PermissionError) else ""
        raise GatepostError(f"{args.daemon}: {place}{error.strerror or error}{remedy}", EX_OSERR) from error
    return daemon


def _check(args: argparse.Namespace) -> int:
    from daemons.check import check

    for note in check(args.config):
        print(f"{args.config}: note: {note}")
    print(f"{args.config}: ok")
    return EX_OK


def _cli(args: argparse.Namespace) -> int:
    from daemons.operator import run_local

    return run_local(args.config, args.words)


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """Build the parser; of the commands in MODULES only the chosen one has its arguments, None = all of them."""
    top = Parser(prog="gatepost", description="Mail gateways, one central quarantine and remote support.")
    top.add_argument("--version", action="version", version=f"gatepost {importlib.metadata.version('gatepost')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, text: str, action: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        return sub

    run = command("run", "run a daemon until it is told to stop", _run)
    run.add_argument("daemon", choices=DAEMONS)
    add_config(run, as_owner=False)
    run.add_argument("--instance", type=int, default=0, help="number of this gateway process, from 0")
    add_config(command("check", "check a configuration and say all that is wrong with it", _check))
    cli = command("cli", "run an operator command on this machine", _cli)
    add_config(cli)
    cli.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND [ARG…] [--json]")
    for name, (module, text) in MODULES.items():
        sub = command(name, text, _nothing)
        if chosen in (None, name):
            importlib.import_module(f"daemons.{module}").add_arguments(sub)
    return top


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the executable; give its exit status.

    In a process of its own, the collector looks at what was imported neither meanwhile nor at the end: that was a third
    of the time of a command. core/runtime has it collect once a loop runs.
    """
    if argv is not None:
        return _execute(argv)
    gc.disable()
    status = _execute(sys.argv[1:])
    gc.freeze()
    return status


def _execute(words: Sequence[str]) -> int:
    if os.getpid() == 1:  # the kernel drops what process 1 does not handle: a container would wait to be killed
        signal.signal(signal.SIGTERM, _leave)
    args = parser(next((word for word in words if not word.startswith("-")), "")).parse_args(words)
    changed = False
    try:
        getattr(args, "read_first", _nothing)(args)
        changed = getattr(args, "as_owner", False) and act_as_owner(args.config)
        status = args.action(args)
    except GatepostError as error:
        more = remark(error) if changed else ""
        lines = error.problems if isinstance(error, ConfigError) else (error.text,)
        sys.stderr.write("".join(f"gatepost: {line}{more}\n" for line in lines))
        status = error.status
    except KeyboardInterrupt:
        status = 130
    if status:
        until_read()
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
