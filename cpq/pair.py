"""Pairing two appliances: the management host calls the gateway's console once, with an administrator's key.

`pair` runs on the SMA (`gatepost pair`), `accept` behind the console command `cpq pair` of the ESA, which takes one
JSON object on standard input and gives one. Each side ends with the other's
certificate pinned; the ESA also with the key of the SMA's command client, the SMA with the console's host key.
Raises `GatepostError` with the remedy, and what core/ssh raises.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from core import pki
from core.clock import Clock, now
from core.errors import EX_DATAERR, EX_NOPERM, EX_UNAVAILABLE, GatepostError
from core.ssh import KeyOrFile, host_key_fingerprint, run_command
from cpq.pairing import Pairing, Pairings

PAIR_COMMAND = "cpq pair --json"
LISTENER_COMMAND = "cpq listener --json"
COMMAND_USER = "cpq-command"
"""The user as whom the SMA's command client logs in to the ESA's console."""
TIMEOUT_S = 30.0


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """What one appliance tells the other about itself."""

    v: int = 1
    serial: str
    role: str
    certificate: str
    address: str
    port: int
    command_key: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """What came of pairing, for the operator."""

    serial: str
    address: str
    port: int
    certificate_fingerprint: str
    host_key_fingerprint: str


Confirm = Callable[[str], Awaitable[bool]]
"""Shows a host key fingerprint to whoever runs the command, and asks."""


async def pair(
    pairings: Pairings,
    own: Introduction,
    *,
    host: str,
    port: int,
    username: str,
    key_path: KeyOrFile,
    confirm: Confirm,
    clock: Clock = now,
) -> Pair:
    """Pair this management host with the gateway whose console is at host:port. Repeating it renews the pairing."""
    host_key = await host_key_fingerprint(host, port, TIMEOUT_S)
    if not await confirm(host_key.fingerprint):
        raise GatepostError(
            f"{host}:{port}: its host key {host_key.fingerprint} was not confirmed; "
            "`gatepost cli sshconfig list` on the gateway shows its own, --fingerprint takes it",
            EX_NOPERM,
        )
    question = msgspec.json.encode(own)
    result = await run_command(host, port, username, key_path, host_key.public, PAIR_COMMAND, TIMEOUT_S, stdin=question)
    if result.status != 0:
        reason = result.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GatepostError(f"{host}:{port} refused to pair: {reason[-1] if reason else result.status}", EX_UNAVAILABLE)
    other = _checked(_parse(result.stdout), expected_role="esa")
    pairings.add(
        Pairing(
            serial=other.serial,
            certificate=other.certificate,
            role=other.role,
            address=other.address,
            port=other.port,
            console_host=host,
            console_port=port,
            host_key=host_key.public,
            paired_at=clock(),
        )
    )
    fingerprint = pki.fingerprint(other.certificate.encode())
    return Pair(other.serial, other.address, other.port, fingerprint, host_key.fingerprint)


def accept(pairings: Pairings, own: Introduction, question: dict[str, Any], *, clock: Clock = now) -> dict[str, Any]:
    """Answer `cpq pair` on the gateway: pin the management host and introduce this machine."""
    other = _checked(_parse(msgspec.json.encode(question)), expected_role="sma")
    if other.serial == own.serial:
        raise GatepostError("cpq pair: an appliance cannot be paired with itself", EX_DATAERR)
    pairings.add(
        Pairing(
            serial=other.serial,
            certificate=other.certificate,
            role=other.role,
            address=other.address,
            port=other.port,
            command_key=other.command_key,
            paired_at=clock(),
        )
    )
    answer: dict[str, Any] = msgspec.to_builtins(own)
    return answer


def _parse(data: bytes) -> Introduction:
    try:
        return msgspec.json.decode(data, type=Introduction)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatepostError(
            f"pairing: the other appliance's introduction cannot be read: {error}", EX_DATAERR
        ) from None


def _checked(other: Introduction, *, expected_role: str) -> Introduction:
    """Make sure that an introduction is of the kind expected and that its certificate is its own."""
    if other.v != 1:
        raise GatepostError(f"pairing: the other appliance speaks version {other.v}; upgrade both", EX_DATAERR)
    if other.role != expected_role:
        raise GatepostError(f"pairing: {other.serial} is not of role {expected_role} but {other.role}", EX_DATAERR)
    try:
        name = pki.certificate_serial(other.certificate.encode())
    except ValueError as error:
        raise GatepostError(f"pairing: the certificate of {other.serial} cannot be read: {error}", EX_DATAERR) from None
    if name != other.serial:
        raise GatepostError(f"pairing: {other.serial} shows the certificate of {name}", EX_DATAERR)
    return other
