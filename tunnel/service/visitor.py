"""Who came in for service: the person behind a connection, as the appliance's logs and recordings name them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tunnel.appliance.hop import address_of

CERTIFICATE, KEY, PASSWORD = "certificate", "key", "password"


@dataclass(frozen=True, slots=True)
class ServiceLogin:
    """One login as `service`."""

    engineer: str
    case: str
    key_id: str
    """The certificate's key id; for the derived key its fingerprint, for a one-time password its number."""
    relayed: bool
    """Through the recording bastion (true) or end to end with the engineer's own certificate (false)."""
    since_at: float
    until_at: float
    way: str = CERTIFICATE
    """How it proved itself: `certificate`, `key` (the derived key itself) or `password`."""
    source: str = ""
    """Whom the bastion says it carries, or the address of the appliance it came over."""
    shell: Callable[[], Awaitable[int]] | None = None
    """Lends the session's terminal to a login shell; None where none is allowed."""

    @property
    def over(self) -> str:
        """By what way it came: the tunnel, or the address of the appliance before this one."""
        return self.source if address_of(self.source) is not None else "the tunnel"

    def same_person(self, other: "ServiceLogin") -> bool:
        """Tell whether the other may take over this one's sessions: the same certificate or key, or the same case.

        Whoever typed a one-time password is not known well enough for that.
        """
        if PASSWORD in (self.way, other.way):
            return False
        return self.key_id == other.key_id or (self.case != "" and self.case == other.case)

    def facts(self) -> dict[str, Any]:
        """Say who it is."""
        return {
            "engineer": self.engineer,
            "case": self.case,
            "key_id": self.key_id,
            "way": self.way,
            "relayed": self.relayed,
            "from": self.source,
        }

    def __str__(self) -> str:
        case = f", case {self.case}" if self.case else ""
        return f"{self.engineer}{case} ({self.key_id}) from {self.over}"
