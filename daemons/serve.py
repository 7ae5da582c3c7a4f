"""`gatepost serve`: one machine in one process tree, for containers and laptops. systemd does this on machines.

Starts every daemon of the machine's role and keeps them running; READY when all are. Works as process 1 and needs no
shell. SIGTERM stops in order: first those that take work in, then those that finish it. SIGHUP has all read their
configuration, and starts those that were left alone. Listens on run/serve.sock: `status`, `halt`, `resume`.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from core.child import Child, Household, Reaper
from core.control import Handler
from core.diagnostic import divert
from core.lifecycle import Service
from core.program import command_line
from core.relay import Relay
from core.role import ON
from core.runtime import Daemon, run_daemon
from core.switch import Prepared, Switch
from daemons.machine import Machine
from daemons.owner import add_config
from daemons.reload import opened

_LAST = ("delivery-queue", "keyd")
"""They are stopped when the others are gone: what was accepted last is still taken into the queue."""
_MARGIN_S = 3.0
"""What a daemon may take beyond its own grace before it is killed."""


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command to the executable."""
    sub.set_defaults(action=_serve)
    add_config(sub, as_owner=False)


def _serve(args: argparse.Namespace) -> int:
    machine = Machine.open(args.config)
    relay = Relay()
    divert(relay.take)
    try:
        home = Household(relay, patience_s=machine.document.runtime.grace_s + _MARGIN_S)
        return run_daemon(build(machine, home))
    finally:
        relay.close()
        divert(None)


def build(machine: Machine, home: Household) -> Daemon:
    """Wire the process that keeps a machine's daemons running."""
    for name in _names(machine):
        daemon, _, instance = name.partition("-") if name.startswith("gateway-") else (name, "", "")
        words = ["run", daemon, "--config", str(machine.config), *(["--instance", instance] if instance else [])]
        argv = command_line([sys.executable, "-m", "daemons.gatepost", *words], on_death="TERM")
        first = [child for child in home.children if child.name not in _LAST] if name in _LAST else []
        Child(name, argv, machine.socket(name), home, first)

    async def check(file: Path) -> Prepared:
        await asyncio.to_thread(opened, machine, file)
        return Prepared()

    async def again() -> None:
        for child in home.children:
            child.again()

    switch = Switch(machine.config, machine.digest, check, also=again)
    services: list[Service] = [*home.children, Reaper(home)]
    grace_s = 2 * home.patience_s + _MARGIN_S
    return Daemon("serve", services, machine.socket("serve"), _verbs(home), grace_s, switch)


def _names(machine: Machine) -> list[str]:
    """Give the daemons of a machine, those that stop last at the end."""
    gateways = [f"gateway-{number}" for number in range(machine.document.runtime.gateways)]
    names = [one for name in ON[machine.role] for one in (gateways if name == "gateway" else [name])]
    return sorted(names, key=lambda name: name in _LAST)


def _verbs(home: Household) -> dict[str, Handler]:
    async def status(_: dict[str, Any]) -> dict[str, Any]:
        return {"daemons": [child.show() for child in home.children]}

    def wanting(wanted: bool) -> Handler:
        async def verb(args: dict[str, Any]) -> dict[str, Any]:
            names = args.get("daemons") or [child.name for child in home.children]
            for child in home.children:
                if child.name in names:
                    child.want(wanted)
            return await status({})

        return verb

    return {"status": status, "halt": wanting(False), "resume": wanting(True)}
