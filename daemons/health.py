"""`gatepost health`: a line for each daemon of the machine, exit status 0 or 69; for containers, scripts and people.

Reads of the configuration only what says where to look, and does not check it: that is `gatepost check`.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

from core import toml
from core.disk import read_text
from core.errors import EX_OK, EX_UNAVAILABLE, ConfigError, Problem
from core.role import ON
from core.runtime import run
from daemons.owner import add_config
from ops import health

_LONG: Final = 256 << 10
_NEEDED: Final = frozenset({"[appliance]", "[spool]", "[health]", "[runtime]"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    add_config(parser, as_owner=False)
    parser.add_argument(
        "--ready", action="store_true", help="also whether it can do its work: disk, spool, names, database"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(action=_show)


def _show(args: argparse.Namespace) -> int:
    place = place_of(args.config)
    report = run(health.ready(place) if args.ready else health.alive(place))
    if args.json:
        print(json.dumps(report.document()))
    else:
        print("\n".join(_lines(report)))
    return EX_UNAVAILABLE if report.state == health.FAILED else EX_OK


def _lines(report: health.Report) -> list[str]:
    daemons = {pulse.daemon: pulse for pulse in report.pulses}
    rows = []
    for one in report.checks:
        pulse = daemons.get(one.check)
        text = one.text or (f"pid {pulse.document['pid']}" if pulse and pulse.document else "")
        rows.append(f"{one.check:15} {pulse.state if pulse else one.state:10} {text}".rstrip())
    return rows


def place_of(config: Path) -> health.Place:
    """Read where a machine is and what belongs to it. Raises `ConfigError`."""
    tables = _tables(config)
    appliance = tables.get("appliance")
    role = appliance.get("role") if isinstance(appliance, dict) else None
    if role not in ON:
        roles = ", ".join(ON)
        raise ConfigError([Problem(str(config), "appliance.role", f"one of {roles} is needed (found {role!r})")])
    return health.Place.of(tables, config.resolve().parent)


def _tables(config: Path) -> dict[str, Any]:
    """Read the document; of a long one, with its ten thousands of routes, only what is needed."""
    try:
        text = read_text(config)
        if len(text) > _LONG and "appliance" in (tables := toml.loads(_cut(text))):
            return tables
        return toml.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([Problem(str(config), "", f"cannot be read: {reason}")]) from None


def _cut(text: str) -> str:
    wanted, lines = False, []
    for line in text.splitlines():
        if line.startswith("["):
            wanted = line.partition("#")[0].strip() in _NEEDED
        if wanted:
            lines.append(line)
    return "\n".join(lines)
