"""The commands of `packetcapture`: start, stop, status, setup, list, delete; its menu is in capture_menu.py.

A capture belongs to the session that starts it and ends with it. Where there is no session (one command by ssh or
`gatepost cli`) `packetcapture start` stays until the capture is over; Ctrl-C, or the end of the connection, ends both.
"""

import asyncio
from typing import Annotated, Any, TypedDict, Unpack

import msgspec

from core.errors import GatepostError
from core.program import Program
from ops.cli.account import INSPECTORS, Role
from ops.cli.argument import Help
from ops.cli.commands.network.capture_view import (
    octets,
    render_delete,
    render_list,
    render_setup,
    render_start,
    render_status,
    render_stop,
)
from ops.cli.display import brief
from ops.cli.registry import Call, Document, command
from ops.network.capture.captures import Captures, finish, said_by
from ops.network.capture.setting import ANY, Setting, load, read_size, read_time, save, tcpdump_words

LISTENERS = frozenset({Role.ADMINISTRATOR, Role.SUPPORT})
"""Who may look into packets: mail passes by there in the clear."""
_LAST_WORD_S = 8.0
_SHOW_S = 5.0
_PREDEFINED = ("ports", "client", "server")


class Given(TypedDict, total=False):
    """What a setting can be told, by `start` for one capture and by `setup` for all that follow."""

    interfaces: Annotated[str, Help("network interfaces, several with commas; any = all", "NAME[,NAME…]")]
    ports: Annotated[str, Help("predefined filter: ports, such as 25,8000-8100", "PORTS")]
    client: Annotated[str, Help("predefined filter: address of the client", "IP")]
    server: Annotated[str, Help("predefined filter: address of the server", "IP")]
    filter_: Annotated[str, Help("a filter in tcpdump's syntax instead, in quotes", "FILTER")]
    max_size: Annotated[str, Help("most that is kept on the disk, such as 200M", "SIZE")]
    duration: Annotated[str, Help("how long, such as 90s, 5m, 2h; 0 = until it is stopped", "TIME")]


def captures_of(call: Call) -> Captures:
    """Give the captures of the machine."""
    return Captures(call.appliance.dir, call.appliance.now)


def _changed(setting: Setting, given: Given) -> Setting:
    """Give a setting with what was given put into it; a custom filter and the predefined ones exclude each other."""
    values: dict[str, Any] = msgspec.structs.asdict(setting)
    if "interfaces" in given:
        names = tuple(one.strip() for one in given["interfaces"].split(",") if one.strip())
        values["interfaces"] = () if names == (ANY,) else names
    predefined = {name: value for name, value in given.items() if name in _PREDEFINED}
    if "filter_" in given:
        values |= {"custom": given["filter_"], **dict.fromkeys(_PREDEFINED, "")}
    if predefined:
        values |= {**predefined, "custom": ""}
    if "max_size" in given:
        values["max_bytes"] = read_size(given["max_size"])
    if "duration" in given:
        full = given["duration"].strip().lower() == "full"
        values |= {"duration_s": 0 if full else read_time(given["duration"]), "until_full": full}
    return Setting(**values)


def _described(setting: Setting) -> Document:
    return {
        "interfaces": list(setting.interfaces) or [ANY],
        "filter": tcpdump_words(setting).expression,
        "max_bytes": setting.max_bytes,
        "duration_s": setting.duration_s,
        "until_full": setting.until_full,
    }


async def status_of(call: Call) -> Document:
    """Give what runs, what the last one came to, and the settings."""
    found = await asyncio.to_thread(captures_of(call).status)
    return {**found, "setting": _described(load(call.appliance.dir))}


@command("packetcapture status", "Show the capture that runs and the settings.", render=render_status, roles=INSPECTORS)
async def packetcapture_status(call: Call) -> Document:
    """One capture at a time runs on a machine, whoever started it."""
    return await status_of(call)


@command("packetcapture start", "Start a capture.", render=render_start, roles=LISTENERS)
async def packetcapture_start(call: Call, **given: Unpack[Given]) -> Document:
    """What is not given is as `packetcapture setup` left it. The filter is checked first. The files are parts of a
    tenth of the size each; when all ten are full the oldest goes. In a session it goes on until the session ends;
    without one the command stays, and the capture ends with it.
    """
    setting = _changed(load(call.appliance.dir), given)
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
                call.show(f"{found['name']}: {octets(found['bytes'])}, {brief(found['elapsed_s'])}")
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


@command("packetcapture stop", "Stop the capture that runs.", render=render_stop, roles=LISTENERS)
async def packetcapture_stop(call: Call) -> Document:
    """Whoever started it."""
    return await captures_of(call).stop()


@command("packetcapture setup", "Change the settings of captures.", render=render_setup, roles=LISTENERS)
async def packetcapture_setup(call: Call, **given: Unpack[Given]) -> Document:
    """They count at once, without commit, for the next capture. `--duration full` stops it at the maximum size.
    `--filter ''` takes the filter away. A filter that tcpdump does not take is refused.
    """
    folder = call.appliance.dir
    setting = _changed(load(folder), given)
    await captures_of(call).check(setting)
    save(folder, setting)
    return _described(setting)


@command("packetcapture list", "List the files of captures.", render=render_list, roles=INSPECTORS)
async def packetcapture_list(call: Call) -> Document:
    """They lie in the folder captures of the machine."""
    return {"files": await asyncio.to_thread(captures_of(call).files)}


@command("packetcapture delete", "Delete captures.", render=render_delete, roles=LISTENERS)
async def packetcapture_delete(
    call: Call, names: Annotated[list[str], Help("a capture with all its files, or a file", "NAME")]
) -> Document:
    """The capture that runs is not deleted."""
    if not names:
        raise GatepostError("give the name of a capture or a file; see packetcapture list")
    return {"deleted": await asyncio.to_thread(captures_of(call).delete, names)}


COMMANDS = (
    packetcapture_delete,
    packetcapture_list,
    packetcapture_setup,
    packetcapture_start,
    packetcapture_status,
    packetcapture_stop,
)
