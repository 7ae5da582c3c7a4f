"""`cpq listener` and `cpq pair`: what a management host asks of this machine over SSH.

Its command-client key may run nothing else. The exchange itself belongs to the central quarantine; the console
hands its function in with the appliance.
"""

import json
from typing import Annotated, Any

from core.errors import EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE, GatepostError
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help
from ops.cli.registry import MAIL_MACHINES, Call, Document, command


def render_listener(document: Document, width: int) -> str:
    """Show address, port and state on one line."""
    return f"{document['address']} port {document['port']}: {document['state']}"


@command(
    "cpq listener",
    "Show where the central quarantine's listener of this machine is reached.",
    render=render_listener,
    machines=MAIL_MACHINES,
)
async def listener(call: Call) -> Document:
    """The state is `listening`, `suspended` or `down`."""
    channel = call.appliance.configuration().get("cpq") or {}
    if not channel.get("port"):
        raise GatepostError("the central quarantine is not configured here; add a [cpq] section", EX_CONFIG)
    try:
        answer = await call.appliance.ask("cpq-listener", "status")
        suspended = str(answer.get("state", "")).lower() in {"receiving suspended", "suspended", "offline"}
        state = "suspended" if suspended else "listening"
    except GatepostError as error:
        if error.status != EX_UNAVAILABLE:
            raise
        state = "down"
    address = channel.get("public_address") or channel.get("address") or ""
    return {"address": str(address), "port": int(channel["port"]), "state": state}


def _read(text: str | bytes) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise GatepostError("cpq pair takes one JSON object, as an argument or on standard input", EX_DATAERR)
    return request


@command("cpq pair", "Exchange certificates with a management host.", roles=ADMINISTRATORS, machines=MAIL_MACHINES)
async def pair(
    call: Call, document: Annotated[str, Help("the JSON object of the other machine; default: standard input")] = ""
) -> Document:
    """Called by the other machine during pairing; gives this machine's half of the exchange."""
    if call.appliance.pair is None:
        raise GatepostError("this machine takes no pairing; run it on the console of a gateway", EX_UNAVAILABLE)
    return await call.appliance.pair(_read(document or await call.stdin()))


COMMANDS = (listener, pair)
