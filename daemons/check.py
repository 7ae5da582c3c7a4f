"""`gatepost check`: all that a machine's daemons would refuse to start with, without starting them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from core.errors import ConfigError, Problem
from daemons.config import Esa
from daemons.machine import Machine
from daemons.wiring import filters_of, handler_of

_KEYS: dict[str, tuple[str, ...]] = {
    "esa": ("cpq.key", "cpq.crt", "tls.key", "tls.crt", "host_ed25519", "tunnel_ed25519")
}
_KEYS["sma"] = (*_KEYS["esa"], "command_client_ed25519")
_KEYS["bastion"] = ("host_ed25519", "bastion_host_ed25519", "engineer_ca_ed25519", "tls.key", "tls.crt")


def _tried(build: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        build()
    except ConfigError as error:
        return error.problems
    return ()


def check(config: Path) -> None:
    """Check document, filters and key files. Raises `ConfigError` with every problem."""
    machine = Machine.open(config)
    problems = [
        Problem(str(machine.keys / name), "", "missing; `gatepost init` makes it")
        for name in _KEYS[machine.role]
        if not (machine.keys / name).exists()
    ]
    if isinstance(machine.document, Esa):
        document = machine.document
        problems += _tried(partial(filters_of, machine, document))
        for section in document.listener:
            problems += _tried(partial(handler_of, machine, section))
    if problems:
        raise ConfigError(problems)
