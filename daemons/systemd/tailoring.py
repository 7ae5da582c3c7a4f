"""What of the units depends on a machine's configuration, as drop-ins (`50-machine.conf`) beside them.

Ports of sockets, the number of gateways, a grace that is longer than the units', the rights for support's login shell.
Pure: a document in, texts out.
"""

from pathlib import Path

from daemons.config import Appliance, Bastion, Document, Esa
from daemons.port import Port, opened_by_systemd
from daemons.systemd.units import LINKED, SYSTEM

NAME = "50-machine.conf"
USER = "gatepost"
_HEAD = "# Written by `gatepost systemd install`, which replaces it; own settings go into a file beside this one.\n"
_GRACE_S, _MARGIN_S = 10.0, 20.0
"""What the units' TimeoutStopSec was reckoned for: the default of [runtime] grace_s, and what the last write takes."""
_SHELL = """[Service]
# [tunnel] service_user: support's login shell runs as another user. These rights are worth nearly as much as root's.
AmbientCapabilities=CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_CHOWN CAP_KILL
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_CHOWN CAP_KILL
SystemCallFilter=@setuid @chown capset
"""


def drop_ins(document: Document) -> dict[Path, str]:
    """Give all drop-ins of a machine by their place below `/`."""
    found = {_place(f"{port.unit}.d"): _listening(port) for port in opened_by_systemd(document)}
    instances = _instances(document)
    if instances:
        found[_place(f"gatepost-{document.appliance.role}.target.d")] = f"{_HEAD}[Unit]\nWants={instances}\n"
    if isinstance(document, Bastion):
        found[_place("gatepost-bastion.service.d")] = f"{_HEAD}[Service]\nSockets={instances}\n"
    if document.runtime.grace_s > _GRACE_S:
        seconds = document.runtime.grace_s + _MARGIN_S
        found[_place(LINKED)] = f"{_HEAD}[Service]\nTimeoutStopSec={seconds:g}\n"
    if isinstance(document, Appliance) and document.tunnel.service_user not in ("", USER):
        found[_place("gatepost-console.service.d")] = f"{_HEAD}{_SHELL}"
    return found


def written_before(root: Path) -> list[Path]:
    """Find the drop-ins of an earlier installation by their places below `/`."""
    return [
        path.relative_to(root) for path in (root / SYSTEM).glob(f"gatepost-*.d/{NAME}") if not path.parent.is_symlink()
    ]


def _instances(document: Document) -> str:
    """Name the instances of the role's template: gateways of an ESA, appliances' ports of a bastion."""
    if isinstance(document, Esa):
        return " ".join(f"gatepost-gateway@{number}.service" for number in range(document.runtime.gateways))
    return " ".join(port.unit for port in opened_by_systemd(document) if "@" in port.unit)


def _listening(port: Port) -> str:
    return f"{_HEAD}# [{port.section}] of the configuration\n[Socket]\nListenStream=\nListenStream={port.stream}\n"


def _place(folder: str) -> Path:
    return SYSTEM / folder / NAME
