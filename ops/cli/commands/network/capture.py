"""`packetcapture`: start, stop, status, setup, list, delete.

A capture belongs to the session that starts it and ends with it. Where there is no session (one command by ssh or
`gatepost cli`) `packetcapture start` stays until the capture is over; Ctrl-C, or the end of the connection, ends both.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from core.errors import GatepostError
from core.program import Program
from ops.cli.account import INSPECTORS, Role
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import brief, moment, number
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table
from ops.network import watch
from ops.network.capture.captures import Captures, finish, said_by
from ops.network.capture.setting import ANY, Setting, load, read_size, read_time, save, words_of

LISTENERS = frozenset({Role.ADMINISTRATOR, Role.SUPPORT})
"""Who may look into packets: mail passes by there in the clear."""
_LAST_WORD_S = 8.0
_SHOW_S = 5.0

Interfaces = Annotated[str | None, Help("network interfaces, several with commas; any = all", "NAME[,NAME…]")]
Ports = Annotated[str | None, Help("predefined filter: ports, such as 25,8000-8100", "PORTS")]
Client = Annotated[str | None, Help("predefined filter: address of the client", "IP")]
Server = Annotated[str | None, Help("predefined filter: address of the server", "IP")]
Filter = Annotated[str | None, Help("a filter in tcpdump's syntax instead, in quotes", "FILTER")]
Size = Annotated[str | None, Help("most that is kept on the disk, such as 200M", "SIZE")]
Duration = Annotated[str | None, Help("how long, such as 90s, 5m, 2h; 0 = until it is stopped", "TIME")]


def captures_of(call: Call) -> Captures:
    """Give the captures of the machine."""
    return Captures(call.appliance.dir, call.appliance.now)


def _changed(
    setting: Setting,
    *,
    interfaces: str | None,
    ports: str | None,
    client: str | None,
    server: str | None,
    filter_: str | None,
    max_size: str | None,
    duration: str | None,
) -> Setting:
    """Give a setting with what was given put into it; a custom filter and the predefined ones exclude each other."""
    values: dict[str, Any] = {name: getattr(setting, name) for name in Setting.__struct_fields__}
    if interfaces is not None:
        names = tuple(one.strip() for one in interfaces.split(",") if one.strip())
        values["interfaces"] = () if names == (ANY,) else names
    given = {"ports": ports, "client": client, "server": server}
    if filter_ is not None:
        values |= {"custom": filter_, "ports": "", "client": "", "server": ""}
    if any(value is not None for value in given.values()):
        values |= {name: value for name, value in given.items() if value is not None} | {"custom": ""}
    if max_size is not None:
        values["max_bytes"] = read_size(max_size)
    if duration is not None:
        full = duration.strip().lower() == "full"
        values |= {"duration_s": 0 if full else read_time(duration), "until_full": full}
    return Setting(**values)


def _described(setting: Setting) -> Document:
    return {
        "interfaces": list(setting.interfaces) or [ANY],
        "filter": words_of(setting).expression,
        "max_bytes": setting.max_bytes,
        "duration_s": setting.duration_s,
        "until_full": setting.until_full,
    }


def _limit(setting: Document) -> str:
    if setting["until_full"]:
        return "Until the maximum size is reached"
    return brief(setting["duration_s"]) if setting["duration_s"] else "None (run until stopped)"


def render_status(document: Document, width: int) -> str:
    """Show what runs, what the last one came to, and the settings."""
    lines = ["Status: a capture is running" if document["running"] else "Status: No capture running"]
    if document["running"]:
        lines += [
            f"  Capture:      {document['name']}, started by {document['by']}",
            f"  Current size: {_octets(document['bytes'])} (maximum {_octets(document['max_bytes'])})",
            f"  Elapsed:      {brief(document['elapsed_s'])}",
            f"  Interfaces:   {document['interface']}",
            f"  Filter:       {document['filter'] or '(none)'}",
        ]
    elif last := document["last"]:
        lines.append(f"Last capture: {_came_to(last)}")
    setting = document["setting"]
    lines += [
        "",
        "Current Configuration:",
        f"  Max file size:      {_octets(setting['max_bytes'])}",
        f"  Capture Limit:      {_limit(setting)}",
        f"  Capture Interfaces: {', '.join(setting['interfaces'])}",
        f"  Capture Filter:     {setting['filter'] or '(none)'}",
    ]
    return "\n".join(lines)


def _came_to(last: Document) -> str:
    if "ended_at" not in last:
        return f"{last.get('name')}, broken off: its keeper was killed"
    ended = moment(last["ended_at"])
    return f"{last['name']}, {number(last['packets'])} packets, {_octets(last['bytes'])}; {last['reason']}, {ended}"


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    while True:
        document = await packetcapture_status.run(call) if packetcapture_status.run else {}
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
    size = await dialogue.ask("Enter maximum allowable size for the capture file (K, M, G):", _size(setting.max_bytes))
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


def _size(value: int) -> str:
    for unit, length in (("G", 1_000_000_000), ("M", 1_000_000), ("K", 1_000)):
        if value % length == 0:
            return f"{value // length}{unit}"
    return str(value)


def _octets(value: int) -> str:
    """Show a size in the units in which the maximum is given, those of tcpdump."""
    for unit, length in (("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)):
        if value >= length:
            return f"{value / length:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value} bytes"


def _predefined(setting: Setting) -> bool:
    return bool(setting.ports or setting.client or setting.server)


@command(
    "packetcapture", "Capture packets, or see what is captured.", render=render_status, dialogue=_ask, roles=LISTENERS
)
async def packetcapture(call: Call) -> Document:
    """Without a word it is a menu; in batch it shows the state."""
    assert packetcapture_status.run is not None
    return await packetcapture_status.run(call)


@command("packetcapture status", "Show the capture that runs and the settings.", render=render_status, roles=INSPECTORS)
async def packetcapture_status(call: Call) -> Document:
    """One capture at a time runs on a machine, whoever started it."""
    found = await asyncio.to_thread(captures_of(call).status)
    return {**found, "setting": _described(load(call.appliance.dir))}


def render_start(document: Document, width: int) -> str:
    """Say what was begun, or what it came to."""
    if document["running"]:
        return f"Packet capture {document['name']} has started.\nIt ends with this session, or `packetcapture stop`."
    return f"Packet capture {_came_to(document)}.\n" + "\n".join(document["files"])


@command("packetcapture start", "Start a capture.", render=render_start, roles=LISTENERS)
async def packetcapture_start(
    call: Call,
    *,
    interfaces: Interfaces = None,
    ports: Ports = None,
    client: Client = None,
    server: Server = None,
    filter_: Filter = None,
    max_size: Size = None,
    duration: Duration = None,
) -> Document:
    """What is not given is as `packetcapture setup` left it. The filter is checked first. The files are parts of a
    tenth of the size each; when all ten are full the oldest goes. In a session it goes on until the session ends;
    without one the command stays, and the capture ends with it.
    """
    folder = call.appliance.dir
    setting = _changed(
        load(folder),
        interfaces=interfaces,
        ports=ports,
        client=client,
        server=server,
        filter_=filter_,
        max_size=max_size,
        duration=duration,
    )
    captures = captures_of(call)
    program = await captures.start(setting, str(call.caller))
    if call.at_end is not None:
        call.at_end(lambda: finish(program))
        return await asyncio.to_thread(captures.status)
    last = await _stay(call, captures, program)
    files = [str(one["name"]) for one in captures.files() if one["capture"] == last.get("name")]
    return {"running": False, **last, "files": files}


async def _stay(call: Call, captures: Captures, program: Program) -> Document:
    """Stay until the capture is over, showing its size; a command that is broken off ends it."""

    async def show() -> None:
        while True:
            found = await asyncio.to_thread(captures.status)
            if found["running"]:
                call.show(f"{found['name']}: {_octets(found['bytes'])}, {brief(found['elapsed_s'])}")
            await asyncio.sleep(_SHOW_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(show())
            last = await said_by(program)
            showing.cancel()
        return last
    finally:
        program.release()
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await program.wait()
        except TimeoutError:
            call.show("The capture does not end by itself; it is killed.")
        await program.end()


def render_stop(document: Document, width: int) -> str:
    """Say what it came to."""
    return f"Packet capture {_came_to(document)}."


@command("packetcapture stop", "Stop the capture that runs.", render=render_stop, roles=LISTENERS)
async def packetcapture_stop(call: Call) -> Document:
    """Whoever started it."""
    return await captures_of(call).stop()


def render_setup(document: Document, width: int) -> str:
    """Show the settings."""
    lines = [f"Maximum size {_octets(document['max_bytes'])}", f"limit: {_limit(document)}"]
    lines += [f"interfaces: {', '.join(document['interfaces'])}", f"filter: {document['filter'] or '(none)'}"]
    return "; ".join(lines) + "."


@command("packetcapture setup", "Change the settings of captures.", render=render_setup, roles=LISTENERS)
async def packetcapture_setup(
    call: Call,
    *,
    interfaces: Interfaces = None,
    ports: Ports = None,
    client: Client = None,
    server: Server = None,
    filter_: Filter = None,
    max_size: Size = None,
    duration: Duration = None,
) -> Document:
    """They count at once, without commit, for the next capture. `--duration full` stops it at the maximum size.
    `--filter ''` takes the filter away. A filter that tcpdump does not take is refused.
    """
    folder = call.appliance.dir
    setting = _changed(
        load(folder),
        interfaces=interfaces,
        ports=ports,
        client=client,
        server=server,
        filter_=filter_,
        max_size=max_size,
        duration=duration,
    )
    await captures_of(call).check(setting)
    save(folder, setting)
    return _described(setting)


def render_list(document: Document, width: int) -> str:
    """Show one file a line."""
    heads = [Column("File", least=20), Column("Size", right=True), Column("Written")]
    rows = [[str(one["name"]), _octets(one["bytes"]), moment(one["written_at"])] for one in document["files"]]
    shown = table(heads, rows, width) if rows else "There are no captures."
    return f"{shown}\nFetch them with sftp or scp from captures/." if rows else shown


@command("packetcapture list", "List the files of captures.", render=render_list, roles=INSPECTORS)
async def packetcapture_list(call: Call) -> Document:
    """They lie in the folder captures of the machine."""
    return {"files": await asyncio.to_thread(captures_of(call).files)}


def render_delete(document: Document, width: int) -> str:
    """Say how many went."""
    return f"{_counted(document['deleted'])} deleted."


def _counted(names: Sequence[str]) -> str:
    return "1 file was" if len(names) == 1 else f"{len(names)} files were"


@command("packetcapture delete", "Delete captures.", render=render_delete, roles=LISTENERS)
async def packetcapture_delete(
    call: Call, names: Annotated[list[str], Help("a capture with all its files, or a file", "NAME")]
) -> Document:
    """The capture that runs is not deleted."""
    if not names:
        raise GatepostError("give the name of a capture or a file; see packetcapture list")
    return {"deleted": await asyncio.to_thread(captures_of(call).delete, names)}


COMMANDS = (
    packetcapture,
    packetcapture_delete,
    packetcapture_list,
    packetcapture_setup,
    packetcapture_start,
    packetcapture_status,
    packetcapture_stop,
)
