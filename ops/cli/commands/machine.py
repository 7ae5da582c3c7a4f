"""`version`, `settz`, `ntpconfig`: what this machine is, in which zone its times are shown, who keeps its clock."""

import asyncio
import time
from typing import Annotated, Any

from core.errors import EX_DATAERR, GatepostError
from core.hardware import built_at, changed_at, facts
from core.time_sync import clock_state, daemons, servers
from core.time_zone import check_zone, regions
from core.usage import size_text
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help
from ops.cli.commands.staged import put, render_staged, section, stage
from ops.cli.dialogue import Dialogue
from ops.cli.display import moment
from ops.cli.registry import Call, Document, command

_MODELS = {"esa": "mail gateway", "sma": "management host", "bastion": "bastion"}


def render_version(document: Document, width: int) -> str:
    """Show one fact a line."""
    memory = document["memory_bytes"]
    rows = {
        "Product": document["product"],
        "Model": document["model"],
        "Version": document["version"],
        "Build Date": moment(document["built_at"]) if document["built_at"] else "unknown",
        "Install Date": moment(document["installed_at"]) if document["installed_at"] else "unknown",
        "Serial #": document["serial"],
        "Role": document["role"],
        "Hostname": document["hostname"],
        "System": f"{document['system'] or 'unknown'}, kernel {document['kernel']}",
        "CPUs": f"{document['cpus']}{' x ' + document['cpu_model'] if document['cpu_model'] else ''}",
        "Memory": size_text(memory) if memory else "unknown",
        "Python": document["python"],
        "TLS": document["openssl"],
    }
    return "\n".join(f"{label + ':':<13} {value}" for label, value in rows.items())


def machine_facts(call: Call) -> Document:
    """Give all that `version` shows."""
    machine = call.appliance
    return {
        "product": machine.product,
        "model": f"{machine.product} {_MODELS.get(machine.role, machine.role)}",
        "version": machine.version,
        "serial": machine.serial,
        "role": machine.role,
        "hostname": machine.hostname,
        "built_at": built_at(),
        "installed_at": changed_at(machine.dir / "keys" / "host_ed25519"),
        **facts(),
    }


@command("version", "Show version, serial number, role and hardware.", render=render_version)
async def version(call: Call) -> Document:
    """Asks no daemon. The build date is that of the installed package, the install date that of the machine's keys."""
    return machine_facts(call)


async def _ask_zone(call: Call, dialogue: Dialogue) -> Document | None:
    found = regions()
    dialogue.say(f"Current time zone: {_zone_of(call.editing.tables()) or 'that of the system'}")
    names = list(found)
    region = names[await dialogue.choose("Please choose your continent:", names, names.index("Europe") + 1)]
    places = found[region]
    place = await dialogue.choose("Please choose your timezone:", places)
    return {"zone": f"{region}/{places[place]}"}


def _zone_of(tables: dict[str, Any]) -> str:
    return str(section(tables, "appliance").get("timezone", ""))


@command("settz", "Set the time zone.", render=render_staged, dialogue=_ask_zone, roles=ADMINISTRATORS)
async def settz(
    call: Call, zone: Annotated[str, Help("such as Europe/Berlin or UTC; `system` for that of the system", "ZONE")]
) -> Document:
    """In which logs and the console show times; the clock itself stays. Daemons follow with commit."""
    wanted = "" if zone.lower() == "system" else zone
    try:
        check_zone(wanted)
    except ValueError as error:
        raise GatepostError(f"{zone!r}: {error}", EX_DATAERR) from None
    what = f"the time zone is {wanted or 'that of the system'}"
    return await stage(call, what, lambda tables: put(tables, "appliance", timezone=wanted or None), timezone=wanted)


def render_ntp(document: Document, width: int) -> str:
    """Say whether the clock is right, who keeps it, and from where."""
    state = {True: "synchronized", False: "NOT synchronized", None: "unknown: the kernel does not say"}
    lines = [f"Clock: {state[document['synchronized']]}."]
    if document["maximum_error_s"] is not None:
        lines.append(
            f"It is right to {document['maximum_error_s']:.3f} s, probably to {document['estimated_error_s']:.6f} s."
        )
    running = document["daemons"]
    lines.append(
        f"Kept by: {', '.join(running)}." if running else "No program that keeps the clock runs on this machine."
    )
    lines += [f"NTP server: {one['server']} ({one['file']})" for one in document["servers"]]
    if not running:
        advice = (
            "what hosts it may keep the clock"
            if document["synchronized"]
            else "install chrony, or keep it from the host"
        )
        lines.append(f"In a container or virtual machine {advice}.")
    lines.append(f"Time: {moment(document['now_at'])}, zone {document['zone']}.")
    return "\n".join(lines)


@command("ntpconfig", "Show whether the clock is kept right, and by whom.", render=render_ntp)
async def ntpconfig(call: Call) -> Document:
    """The clock is kept by the system, not by this suite: servers are set in the files that are named."""
    state, running, named = await asyncio.to_thread(lambda: (clock_state(), daemons(), servers()))
    now = call.appliance.now()
    return {
        **state,
        "daemons": running,
        "servers": named,
        "now_at": now,
        "zone": time.strftime("%Z", time.localtime(now)),
    }


COMMANDS = (version, settz, ntpconfig)
