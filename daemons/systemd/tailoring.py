"""What of the units depends on a machine's configuration, as drop-ins (`50-machine.conf`) beside them.

Ports of sockets, the number of gateways, a grace that is longer than the units', the rights for support's login shell.
Pure: a document in, texts out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from core.errors import EX_CONFIG, GatepostError
from daemons.config import Appliance, Bastion, Document, Esa, Sma
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


@dataclass(frozen=True, slots=True)
class Port:
    """A port that one daemon owns: its socket unit, where it listens, and where that is configured."""

    unit: str
    address: str
    port: int
    key: str
    number: str = "port"

    @property
    def stream(self) -> str:
        """Where systemd is to listen, as ListenStream= has it. Raises status 78 for a name."""
        try:
            version = ip_address(self.address.partition("%")[0]).version
        except ValueError:
            text = f"[{self.key}] {self.address}: a port that systemd opens needs an address, not a name"
            raise GatepostError(text, EX_CONFIG) from None
        return f"[{self.address}]:{self.port}" if version == 6 else f"{self.address}:{self.port}"


def ports(document: Document) -> Iterator[Port]:
    """Give the ports that one daemon of this machine owns."""
    yield Port("gatepost-console.socket", document.console.address, document.console.port, "console")
    yield Port("gatepost-web.socket", document.web.address, document.web.port, "web")
    if isinstance(document, Esa | Sma):
        yield Port("gatepost-cpq-listener.socket", document.cpq.address, document.cpq.port, "cpq")
    if isinstance(document, Bastion):
        section = document.bastion
        for port in section.ports:
            yield Port(f"gatepost-bastion@{port}.socket", section.address, port, "bastion", "ports")
        engineers = "gatepost-bastion-engineers.socket"
        yield Port(engineers, section.engineer_address, section.engineer_port, "bastion", "engineer_port")


def drop_ins(document: Document, gateways: int) -> dict[Path, str]:
    """Give all drop-ins of a machine by their place below `/`."""
    found = {_place(f"{port.unit}.d"): _listening(port) for port in ports(document)}
    instances = _instances(document, gateways)
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


def gateways_now(root: Path) -> int:
    """Give how many gateways an installed target wants; 0 where none is installed."""
    place = root / _place("gatepost-esa.target.d")
    return place.read_text(encoding="utf-8").count("gatepost-gateway@") if place.is_file() else 0


def written_before(root: Path) -> list[Path]:
    """Find the drop-ins of an earlier installation by their places below `/`."""
    return [
        path.relative_to(root) for path in (root / SYSTEM).glob(f"gatepost-*.d/{NAME}") if not path.parent.is_symlink()
    ]


def _instances(document: Document, gateways: int) -> str:
    """Name the instances of the role's template: gateways of an ESA, appliances' ports of a bastion."""
    if isinstance(document, Esa):
        return " ".join(f"gatepost-gateway@{number}.service" for number in range(gateways))
    return " ".join(port.unit for port in ports(document) if "@" in port.unit)


def _listening(port: Port) -> str:
    return f"{_HEAD}# [{port.key}] of the configuration\n[Socket]\nListenStream=\nListenStream={port.stream}\n"


def _place(folder: str) -> Path:
    return SYSTEM / folder / NAME
