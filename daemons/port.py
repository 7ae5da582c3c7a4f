"""The ports of a machine that one daemon owns: where each is, which keys say so, and whether systemd opens it.

Gateways' listeners are not among them: several processes share those. Used by `gatepost check`, by `gatepost systemd`
and where a commit tells what counts after a restart. Pure: a document in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from core.errors import EX_CONFIG, GatepostError
from daemons.config import Bastion, Document, Esa, Sma


@dataclass(frozen=True, slots=True)
class Port:
    """One of them."""

    section: str
    address: str
    port: int
    address_key: str = "address"
    port_key: str = "port"
    unit: str = ""
    """The socket unit by which systemd opens it; '' where the daemon does."""

    @property
    def key(self) -> str:
        """The key of its number, with the section."""
        return f"{self.section}.{self.port_key}"

    @property
    def stream(self) -> str:
        """Where systemd is to listen, as ListenStream= has it. Raises status 78 for a name."""
        try:
            version = ip_address(self.address.partition("%")[0]).version
        except ValueError:
            text = f"[{self.section}] {self.address}: a port that systemd opens needs an address, not a name"
            raise GatepostError(text, EX_CONFIG) from None
        address = self.address.replace("%", "%%")  # one is a specifier of systemd's
        return f"[{address}]:{self.port}" if version == 6 else f"{address}:{self.port}"


def ports(document: Document) -> Iterator[Port]:
    """Give the ports of a machine, those that systemd opens first."""
    yield Port("console", document.console.address, document.console.port, unit="gatepost-console.socket")
    yield Port("web", document.web.address, document.web.port, unit="gatepost-web.socket")
    if isinstance(document, Esa | Sma):
        yield Port("cpq", document.cpq.address, document.cpq.port, unit="gatepost-cpq-listener.socket")
    if isinstance(document, Bastion):
        yield from _bastion(document)
    if document.health.enabled:
        yield Port("health", document.health.address, document.health.port)


def _bastion(document: Bastion) -> Iterator[Port]:
    section = document.bastion
    for port in section.ports:
        yield Port("bastion", section.address, port, port_key="ports", unit=f"gatepost-bastion@{port}.socket")
    engineers = ("engineer_address", "engineer_port", "gatepost-bastion-engineers.socket")
    yield Port("bastion", section.engineer_address, section.engineer_port, *engineers)
    if section.peer_port:
        yield Port("bastion", section.peer_address, section.peer_port, "peer_address", "peer_port")


def opened_by_systemd(document: Document) -> Iterator[Port]:
    """Give those of them that systemd opens where the units are installed."""
    return (port for port in ports(document) if port.unit)
