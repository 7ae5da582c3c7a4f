"""`gatepost check`: all that a machine's daemons would refuse to start with, without starting them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from core.errors import ConfigError, GatepostError, Problem
from core.ssh import key as ssh_key
from daemons.config import Appliance, Esa
from daemons.machine import Machine
from daemons.wiring import filters_of, handler_of

_KEYS = {
    "esa": ("host", "tunnel"),
    "sma": ("host", "tunnel", "command_client"),
    "bastion": ("host", "bastion_host", "engineer_ca"),
}


def _tried(build: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        build()
    except ConfigError as error:
        return error.problems
    except GatepostError as error:
        file, _, reason = error.text.partition(": ")
        return (Problem(file, "", reason),)
    return ()


def _keys(machine: Machine) -> list[Problem]:
    """Open what the daemons will open, with the rights of whoever asks."""
    problems: list[Problem] = []
    for name in _KEYS[machine.role]:
        problems += _tried(partial(ssh_key.read_key, machine.keys / f"{name}_ed25519"))
    problems += _tried(machine.certificate)
    if isinstance(machine.document, Appliance):
        problems += _tried(lambda: machine.pairings().server_context())
    return problems


def check(config: Path) -> list[str]:
    """Check document, filters and keys; give notes on what is hardly meant. Raises `ConfigError` with every fault."""
    machine = Machine.open(config)
    problems = _keys(machine)
    if isinstance(machine.document, Esa):
        document = machine.document
        problems += _tried(partial(filters_of, machine, document))
        for section in document.listener:
            problems += _tried(partial(handler_of, machine, section))
    if problems:
        raise ConfigError(problems)
    return _notes(machine)


def _notes(machine: Machine) -> list[str]:
    notes = []
    if isinstance(machine.document, Esa) and not machine.document.listener:
        notes.append("there is no [[listener]]: this gateway takes no mail")
    if not machine.document.user:
        notes.append("there is no [[user]]: nobody can log in to the console, only `gatepost cli` works")
    return notes
