"""Stores for tests, on each database that the bastion can use, and what is entered into them."""

import base64
import secrets

from core import ssh
from tunnel.bastion.store import CaseSerial, EngineerEntry, Enrolled, Publication, Store


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def exchange_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def machine(serial: str, **changes: str) -> Enrolled:
    """Give an appliance with keys of its own."""
    keys = {name: ssh.public_text(ssh.make_key()) for name in ("tunnel_key", "host_key")}
    return Enrolled(serial=serial, **{**keys, "exchange_key": exchange_key(), "series": "x", **changes})


def publication(activation_id: str = "a-1", **changes: object) -> Publication:
    """Give what an appliance tells at its registration."""
    facts: dict[str, object] = {"mode": "tunnel", "fingerprint": "ab12", "until_at": 1_800_100_000.0, **changes}
    return Publication(activation_id=activation_id, **facts)  # type: ignore[arg-type]


def engineer(name: str, **changes: object) -> EngineerEntry:
    """Give an engineer with a key."""
    facts: dict[str, object] = {
        "roles": ("shell",),
        "keys": ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rZBvfmMA3MSO3Wm6AxUB/",),
        **changes,
    }
    return EngineerEntry(name=name, **facts)  # type: ignore[arg-type]


async def open_case(
    store: Store, number: str = "SR1", *, serial: str = "sn-1", names: tuple[str, ...] = ("ana",)
) -> None:
    """Enter an appliance, engineers (one more, `eva`, to approve) and a case of them."""
    await store.appliances.enroll(machine(serial))
    for name in (*names, "eva"):
        await store.engineers.put(engineer(name))
    await store.cases.open(number, [CaseSerial(serial=serial)], names)
