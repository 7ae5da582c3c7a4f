"""Where everything of a lab is: addresses, ports and folders. Places are data; what is done there is the same.

On one machine as design.md section 11 fixes them: labs run side by side by another second octet, `--net 127.7` puts 7
in the place of the 0. In containers (compose.yaml) with two gateways, standard ports and networks of their own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import EX_USAGE, GatepostError

CONTAINERS = "containers"


@dataclass(frozen=True)
class Ports:
    """What listens where, the same on all machines of a lab."""

    smtp: int
    outbound: int
    cpq: int
    console: int
    web: int
    dns: int
    bastion: tuple[int, ...]
    """The first is the one that the lab's tunnel takes, the fourth and the fifth are shared with TLS."""


LOOPBACK = Ports(2525, 2526, 7025, 2222, 8443, 5353, (2025, 2022, 2053, 2080, 2443, 4766))
STANDARD = Ports(25, 25, 7025, 22, 443, 53, (25, 22, 53, 80, 443, 4766))


@dataclass(frozen=True)
class Layout:
    """The places of one lab."""

    dir: Path
    net: str
    """`127.N`, or `containers`."""
    esas: Mapping[str, str]
    """Mail gateways by name: address of console, web, quarantine channel and of what sends out through them."""
    exchangers: Mapping[str, str]
    """Who takes mail for example.test, by name; gateways among them receive at that address."""
    sma: str
    bastion: str
    engineers: str
    bastion_management: str
    mailhost: str
    dns: str
    inside: str
    """The customer's network."""
    outside: str
    """The network that the customer's machines come from, as the bastion sees them."""
    ports: Ports

    @classmethod
    def of(cls, directory: Path, net: str) -> "Layout":
        """Check `net` and give the layout. Raises status 64 if it is not `127.N`."""
        match = re.fullmatch(r"127\.(\d{1,3})", net)
        if match is None or int(match[1]) > 255:
            raise GatepostError(f"--net {net}: write 127.N, where N is 0 to 255", EX_USAGE)
        return cls(
            directory.resolve(),
            net,
            esas={"esa": f"{net}.1.1"},
            exchangers={"mx": f"{net}.9.1"},
            sma=f"{net}.2.1",
            bastion=f"{net}.3.1",
            engineers=f"{net}.3.2",
            bastion_management=f"{net}.3.3",
            mailhost=f"{net}.9.1",
            dns=f"{net}.8.1",
            inside="127.0.0.0/8",
            outside="127.0.0.0/8",
            ports=LOOPBACK,
        )

    @classmethod
    def containers(cls, directory: Path) -> "Layout":
        """Give the places of compose.yaml: a customer behind a firewall, the world outside, support's own network."""
        return cls(
            directory.resolve(),
            CONTAINERS,
            esas={"esa1": "172.30.1.11", "esa2": "172.30.1.12"},
            exchangers={"esa1": "172.30.4.11", "esa2": "172.30.4.12"},
            sma="172.30.1.20",
            bastion="172.30.2.30",
            engineers="172.30.3.30",
            bastion_management="127.0.0.1",
            mailhost="172.30.2.40",
            dns="172.30.2.53",
            inside="172.30.1.0/24",
            outside="172.30.2.254/32",
            ports=STANDARD,
        )

    @classmethod
    def read(cls, directory: Path, facts: Mapping[str, Any]) -> "Layout":
        """Read back the layout of a lab that is there from its lab.json: the net is in its addresses."""
        if facts.get("place") == CONTAINERS:
            return cls.containers(directory)
        return cls.of(directory, ".".join(facts["dns"].split(".")[:2]))

    @property
    def first(self) -> str:
        """Name of the gateway that support visits."""
        return next(iter(self.esas))

    @property
    def machines(self) -> dict[str, str]:
        """Role of every machine by its name, which is also that of its folder."""
        return {"bastion": "bastion", **dict.fromkeys(self.esas, "esa"), "sma": "sma"}

    def console(self, name: str) -> str:
        """Address of a machine's console and web side."""
        return {**self.esas, "sma": self.sma, "bastion": self.bastion_management}[name]

    def inbound(self, name: str) -> str:
        """Address at which a gateway takes mail from outside."""
        return self.exchangers.get(name, self.esas[name])

    def config(self, name: str) -> Path:
        """Configuration file of a machine."""
        return self.dir / name / "gatepost.toml"

    def control(self, name: str, daemon: str) -> Path:
        """Control socket of a machine's daemon."""
        return self.dir / name / "run" / f"{'gateway-0' if daemon == 'gateway' else daemon}.sock"

    @property
    def maildir(self) -> Path:
        """Where the outside mail host puts what it gets."""
        return self.dir / "mailhost" / "maildir"

    def sockets(self) -> dict[str, tuple[str, int]]:
        """Everything that the lab listens on, by what it is for."""
        ports = self.ports
        places = {
            "dns": (self.dns, ports.dns),
            "mailhost": (self.mailhost, ports.smtp),
            "engineers": (self.engineers, ports.console),
        }
        for name in self.machines:
            host = self.console(name)
            places |= {f"{name} console": (host, ports.console), f"{name} web": (host, ports.web)}
            if name != "bastion":
                places |= {f"{name} quarantine channel": (host, ports.cpq)}
        for name, host in self.esas.items():
            places |= {f"{name} listener InboundMail": (self.inbound(name), ports.smtp)}
            places |= {f"{name} listener OutboundMail": (host, ports.outbound)}
        return places | {f"bastion {port}": (self.bastion, port) for port in ports.bastion}
