"""`listenerconfig list` and `showconfig`: the configuration in force.

The hidden listener of the central quarantine is left out of the first and shown in the second. Secrets are masked
by the name of their key, and wherever a private key stands.
"""

from collections.abc import Mapping
from typing import Any

from core.config import is_secret
from ops.cli.account import INSPECTORS
from ops.cli.commands.suspension import HIDDEN
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document, command
from ops.configuration.toml import toml

_MASK = "*****"
_KINDS = {
    "public": "Public",
    "private": "Private",
    "sinkhole-queuing": "Sinkhole Queuing",
    "sinkhole": "Sinkhole Non-Queuing",
}


def mask(value: Any, key: str = "") -> Any:
    """Give a copy of a configuration in which no secret can be read."""
    if isinstance(value, Mapping):
        return {name: mask(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, key) for item in value]
    if isinstance(value, str) and value and ("PRIVATE KEY" in value or is_secret(key)):
        return _MASK
    return value


def render_listeners(document: Document, width: int) -> str:
    """Show one numbered line per listener."""
    listeners = document["listeners"]
    if not listeners:
        return "No listeners are configured."
    lines = ["Currently configured listeners:"]
    for place, item in enumerate(listeners, 1):
        kind = _KINDS.get(str(item["kind"]), str(item["kind"]))
        state = "" if item["state"] == "listening" else f" ({item['state']})"
        lines.append(f"{place}. {item['name']} (on {item['address']}) SMTP Port {item['port']} {kind}{state}")
    return "\n".join(lines)


async def _listener_menu(call: Call, dialogue: Dialogue) -> Document | None:
    while True:
        await dialogue.perform("listenerconfig list", {})
        if not await dialogue.menu({"LIST": "Show the listeners again."}):
            return None


def listener_states(found: object) -> dict[str, str]:
    """Read the states of listeners from what a gateway answers; a list of them, or a document that holds one."""
    items = found.get("listeners") if isinstance(found, Mapping) else found
    if not isinstance(items, list):
        return {}
    return {str(item.get("name")): str(item.get("state", "")) for item in items if isinstance(item, Mapping)}


@command("listenerconfig list", "List the listeners.", render=render_listeners, machines={"esa"})
async def listenerconfig_list(call: Call) -> Document:
    """The state of each is asked of the gateway; `unknown` when it does not answer."""
    states: dict[str, str] = {}
    for answer in await call.appliance.ask_each(["gateway"], "listeners"):
        states = listener_states(answer.document) or states
    return {
        "listeners": [
            {
                "name": str(item.get("name", "")),
                "kind": str(item.get("kind", "public")),
                "address": str(item.get("address", "")),
                "port": item.get("port", 25),
                "state": states.get(str(item.get("name", "")), "unknown"),
            }
            for item in call.appliance.configuration().get("listener") or []
            if item.get("name") != HIDDEN
        ]
    }


def render_showconfig(document: Document, width: int) -> str:
    """Show the configuration as TOML."""
    return str(document["text"])


@command(
    "showconfig",
    "Show the configuration, secrets masked.",
    render=render_showconfig,
    roles=INSPECTORS,
    multiline={"text"},
)
async def showconfig(call: Call) -> Document:
    """The hidden listener of the central quarantine appears as the listener `cpq_listener`."""
    masked: dict[str, Any] = mask(call.appliance.configuration())
    channel = masked.get("cpq")
    if isinstance(channel, Mapping) and channel.get("port"):
        hidden = {"name": HIDDEN, "kind": "cpq", "address": channel.get("address", ""), "port": channel["port"]}
        listeners = [item for item in masked.get("listener") or [] if item.get("name") != HIDDEN]
        masked["listener"] = [*listeners, hidden]
    return {"configuration": masked, "text": toml(masked)}


listenerconfig = Command(
    "listenerconfig",
    "Show the listeners and what can be done with them.",
    run=None,
    dialogue=_listener_menu,
    machines=frozenset({"esa"}),
)

COMMANDS = (listenerconfig, listenerconfig_list, showconfig)
