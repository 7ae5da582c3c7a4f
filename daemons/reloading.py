"""`gatepost reload DAEMON`: have a running daemon take the machine's configuration, and wait until it has.

What `ExecReload=` of the units calls, so that a configuration that is refused fails the reload. Exit status: 0 when
it is in force, 78 when it is refused (a line for each reason; the daemon goes on as before), 69 when no such daemon
runs.
"""

import argparse
import os
import sys

from core.config.document import read_toml
from core.control import call
from core.errors import EX_OK, GatepostError
from core.runtime import run
from daemons.owner import add_config

_LONGEST_S = 300.0
"""A table of 40,000 routes is read in seconds, on a busy machine in many."""


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command to the executable."""
    from daemons.gatepost import DAEMONS

    sub.add_argument("daemon", choices=DAEMONS)
    add_config(sub, as_owner=False)  # keyd listens to root and to its own user
    sub.add_argument("--instance", type=int, default=0, help="number of the gateway process, from 0")
    sub.set_defaults(action=_reload)


def _reload(args: argparse.Namespace) -> int:
    if not os.access(args.config, os.R_OK):
        read_toml(args.config)  # says what makes one, or who may read it
    name = f"gateway-{args.instance}" if args.daemon == "gateway" else args.daemon
    socket = args.config.resolve().parent / "run" / f"{name}.sock"
    try:
        answer = run(call(socket, "reload", timeout_s=_LONGEST_S))
    except GatepostError as error:
        sys.stderr.write("".join(f"gatepost: {name}: {line}\n" for line in error.text.splitlines()))
        return error.status
    print(f"{name}: the configuration is in force")
    if answer["restart"]:
        print(f"{name}: this counts only after a restart: {', '.join(answer['restart'])}")
    return EX_OK
