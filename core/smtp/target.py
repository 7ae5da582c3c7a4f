"""Where a connection goes: host, address and port.

Made by the resolution of destinations, used by the SMTP client.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host."""

    host: str
    """The name, for logs and for TLS; the address in text form where there is none."""
    address: str
    port: int = 25
    preference: int = 0
    """As in an MX record: the lowest is tried first."""

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.host} ({address}:{self.port})"
