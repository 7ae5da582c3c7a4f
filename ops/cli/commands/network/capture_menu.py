"""The dialogue of `packetcapture`: the state, then what can be done. Every answer is carried out by a batch form."""

from ops.cli.commands.network.capture import LISTENERS, status_of
from ops.cli.commands.network.capture_view import render_status
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command
from ops.network import watch
from ops.network.capture.setting import ANY, Setting, load, show_size


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    while True:
        document = await status_of(call)
        dialogue.say(render_status(document, 0))
        operations = {"STOP": "Stop packet capture."} if document["running"] else {"START": "Start packet capture."}
        operations |= {"SETUP": "Change packet capture settings.", "STATUS": "Show the state again."}
        operations |= {"LIST": "List the files of captures.", "DELETE": "Delete files of captures."}
        chosen = await dialogue.menu(operations)
        if not chosen:
            return None
        if chosen == "SETUP":
            await dialogue.until_right(lambda: _ask_setup(call, dialogue))
        elif chosen == "DELETE":
            if names := (await dialogue.ask("Enter the names of captures or files, separated by commas:")).split(","):
                await dialogue.perform(
                    "packetcapture delete", {"names": [name.strip() for name in names if name.strip()]}
                )
        elif chosen != "STATUS":
            await dialogue.perform(f"packetcapture {chosen.lower()}", {})


async def _ask_setup(call: Call, dialogue: Dialogue) -> None:
    """Ask for the settings in the model's order and keep them."""
    setting = load(call.appliance.dir)
    size = await dialogue.ask(
        "Enter maximum allowable size for the capture file (K, M, G):", show_size(setting.max_bytes)
    )
    limits = ["Run until the size limit is reached", "Run for a time", "Run until stopped, oldest packets go first"]
    now = 1 if setting.until_full else 2 if setting.duration_s else 3
    chosen = await dialogue.choose("When should the capture stop?", limits, now)
    duration = "full" if chosen == 0 else "0"
    if chosen == 1:
        duration = await dialogue.ask("Enter the time (s by default; m, h, d):", f"{setting.duration_s or 300}")
    links = [ANY, *(str(row["name"]) for row in await watch.interfaces("any"))]
    places = await dialogue.choose_several("Enter the interfaces to capture packets from:", links)
    kinds = ["No filter", "Predefined filter (ports, client, server)", "Custom filter"]
    kind = await dialogue.choose("Select the filter:", kinds, 3 if setting.custom else 2 if _predefined(setting) else 1)
    chosen_filter: Document = {"filter_": ""}
    if kind == 1:
        chosen_filter = {
            "ports": await dialogue.ask("Enter ports, separated by commas:", setting.ports),
            "client": await dialogue.ask("Enter the client IP address:", setting.client),
            "server": await dialogue.ask("Enter the server IP address:", setting.server),
        }
    elif kind == 2:
        chosen_filter = {"filter_": await dialogue.ask("Enter the filter in tcpdump syntax:", setting.custom)}
    names = ",".join(links[place] for place in places)
    arguments = {"max_size": size, "duration": duration, "interfaces": names, **chosen_filter}
    await dialogue.perform("packetcapture setup", arguments)


def _predefined(setting: Setting) -> bool:
    return bool(setting.ports or setting.client or setting.server)


@command(
    "packetcapture", "Capture packets, or see what is captured.", render=render_status, dialogue=_ask, roles=LISTENERS
)
async def packetcapture(call: Call) -> Document:
    """Without a word it is a menu; in batch it shows the state."""
    return await status_of(call)


COMMANDS = (packetcapture,)
