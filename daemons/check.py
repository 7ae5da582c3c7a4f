"""`gatepost check`: all that a machine's daemons would refuse to start with, without starting them."""

from pathlib import Path

from core.errors import ConfigError, Problem
from daemons.config import Esa
from daemons.machine import Machine
from daemons.wiring import filters_of

_KEYS: dict[str, tuple[str, ...]] = {
    "esa": ("cpq.key", "cpq.crt", "tls.key", "tls.crt", "host_ed25519", "tunnel_ed25519")
}
_KEYS["sma"] = (*_KEYS["esa"], "command_client_ed25519")
_KEYS["bastion"] = ("host_ed25519", "bastion_host_ed25519", "engineer_ca_ed25519", "tls.key", "tls.crt")


def check(config: Path) -> None:
    """Check document, filters and key files. Raises `ConfigError` with every problem."""
    machine = Machine.open(config)
    problems = [
        Problem(str(machine.keys / name), "", "missing; `gatepost init` makes it")
        for name in _KEYS[machine.role]
        if not (machine.keys / name).exists()
    ]
    if isinstance(machine.document, Esa):
        try:
            filters_of(machine, machine.document)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
