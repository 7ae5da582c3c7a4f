"""What the bastion's store holds, as the rest of the bastion and its commands see it.

Serials are lower case everywhere, times are UNIX seconds with 0 for "not yet".
"""

import msgspec


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """One known appliance."""

    serial: str
    tunnel_key: str
    """The public key with which its tunnel client logs in."""
    host_key: str
    """The public key that its inner SSH server must show."""
    exchange_key: str = ""
    """Its X25519 public key, base64; empty for one enrolled by an old request: it cannot be reached by seed string."""
    series: str = ""
    enrolled_at: float = 0.0
    generation: int = -1
    """How often its registration was renewed; -1 until it has come for the first time."""
    frozen_at: float = 0.0
    frozen_why: str = ""
    last_seen_at: float = 0.0


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What an appliance says of its activation when it registers."""

    activation_id: str
    mode: str
    fingerprint: str
    """Of the seed string, by which a mistyped one is found before the appliance is touched."""
    key_id: int = 0
    day: int = 0
    until_at: float = 0.0
    hops: tuple[str, ...] = ()
    product: str = ""
    series: str = ""


class Published(Publication, frozen=True, kw_only=True):
    """The same, as the store keeps it."""

    serial: str
    first_at: float
    """When this activation came for the first time: its life is counted from there on the bastion's clock too."""
    registered_at: float
    withdrawn_at: float = 0.0

    def supersedes(self, grant: "Grant", now: float) -> bool:
        """Tell whether access was enabled anew, so that what a grant opens is no more."""
        open_now = not self.withdrawn_at and self.until_at > now
        return open_now and self.fingerprint not in ("", grant.fingerprint)


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a registration."""

    why: str = ""
    """Empty if the appliance may take its name; otherwise one line for it and the audit log."""
    frozen: bool = False
    """Whether the serial is frozen: nothing helps but `gatepost bastion thaw`."""
    clone: bool = False
    """Whether it was this registration that froze it."""
    generation: int = 0
    """What the appliance has to keep, then to confirm."""
    nonce: str = ""
    until_at: float = 0.0
    """When the bastion ends this activation on its own clock."""


class EngineerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One engineer of the support organisation."""

    name: str
    roles: tuple[str, ...]
    keys: tuple[str, ...]
    """Public keys that a certificate may be signed for."""
    hours: tuple[str, ...] = ()
    """When the engineer may come in (`tunnel/bastion/hours.py`); none: always."""
    sources: tuple[str, ...] = ()
    """Networks from which the engineer may come in; none: from everywhere."""
    added_at: float = 0.0
    disabled_at: float = 0.0


class CaseSerial(msgspec.Struct, frozen=True, kw_only=True):
    """An appliance of a case."""

    serial: str
    via: str = ""
    """The appliance through which this one is reached; empty if it dials the bastion itself."""
    address: str = ""
    """Where the other one reaches it."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A seed string that keyd has taken for one appliance of a case: the right to enter until it runs out."""

    case: str
    serial: str
    grant_id: str
    fingerprint: str
    mode: str
    until_at: float
    given_at: float
    node: str = ""
    """Whose keyd has it."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A support case."""

    number: str
    serials: tuple[CaseSerial, ...]
    engineers: tuple[str, ...]
    opened_at: float
    approved_at: float = 0.0
    approved_by: str = ""
    closed_at: float = 0.0

    def row(self, serial: str) -> CaseSerial | None:
        """Give the appliance of the case with this serial."""
        return next((one for one in self.serials if one.serial == serial), None)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One bastion among several on the same store."""

    name: str
    epoch: str
    """Drawn at each start, so that what a former life of the node has written is known to be over."""
    address: str
    """`host:port` where its peers reach it; empty if they do not."""
    until_at: float


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """Which node holds the tunnel of an appliance."""

    serial: str
    node: str
    connection: str
    """Tells one connection of the appliance from the next."""
    since_at: float
    peer_address: str = ""
