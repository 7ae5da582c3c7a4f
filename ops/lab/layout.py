"""Where everything of a lab is: addresses, ports and folders, as design.md section 11 fixes them.

Labs run side by side by another second octet: `--net 127.7` puts 7 in the place of the 0.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import EX_USAGE, GatepostError

BASTION_PORTS = (2025, 2022, 2053, 2080, 2443, 4766)
SMTP, OUTBOUND, CPQ, CONSOLE, WEB, DNS = 2525, 2526, 7025, 2222, 8443, 5353


@dataclass(frozen=True)
class Layout:
    """The places of one lab."""

    dir: Path
    net: str = "127.0"

    @classmethod
    def of(cls, directory: Path, net: str) -> "Layout":
        """Check `net` and give the layout. Raises status 64 if it is not `127.N`."""
        match = re.fullmatch(r"127\.(\d{1,3})", net)
        if match is None or int(match[1]) > 255:
            raise GatepostError(f"--net {net}: write 127.N, where N is 0 to 255", EX_USAGE)
        return cls(directory.resolve(), net)

    def _at(self, rest: str) -> str:
        return f"{self.net}.{rest}"

    @property
    def esa(self) -> str:
        """Address of the mail gateway."""
        return self._at("1.1")

    @property
    def sma(self) -> str:
        """Address of the management host."""
        return self._at("2.1")

    @property
    def bastion(self) -> str:
        """Address that appliances dial."""
        return self._at("3.1")

    @property
    def engineers(self) -> str:
        """Address that support engineers log in at."""
        return self._at("3.2")

    @property
    def bastion_management(self) -> str:
        """Address of the bastion's own console and web."""
        return self._at("3.3")

    @property
    def mailhost(self) -> str:
        """Address of the outside mail host."""
        return self._at("9.1")

    @property
    def dns(self) -> str:
        """Address of the name server."""
        return self._at("8.1")

    def config(self, role: str) -> Path:
        """Configuration file of a machine: `esa`, `sma` or `bastion`."""
        return self.dir / role / "gatepost.toml"

    @property
    def maildir(self) -> Path:
        """Where the outside mail host puts what it gets."""
        return self.dir / "mailhost" / "maildir"

    def sockets(self) -> dict[str, tuple[str, int]]:
        """Everything that the lab listens on, by what it is for."""
        places = {
            "dns": (self.dns, DNS),
            "mailhost": (self.mailhost, SMTP),
            "esa listener InboundMail": (self.esa, SMTP),
            "esa listener OutboundMail": (self.esa, OUTBOUND),
            "engineers": (self.engineers, CONSOLE),
        }
        for name, host in (("esa", self.esa), ("sma", self.sma), ("bastion", self.bastion_management)):
            places |= {f"{name} console": (host, CONSOLE), f"{name} web": (host, WEB)}
        for name, host in (("esa", self.esa), ("sma", self.sma)):
            places |= {f"{name} quarantine channel": (host, CPQ)}
        return places | {f"bastion {port}": (self.bastion, port) for port in BASTION_PORTS}
