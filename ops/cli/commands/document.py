"""The configuration as a whole: `showconfig`, `saveconfig`, `loadconfig`, `resetconfig`, `rollbackconfig`.

Whatever replaces a configuration goes into the caller's pending copy; `commit` puts it in force. Secrets are masked
where a document is shown, and by choice where it is saved; a masked file is refused by `loadconfig`.
"""

import asyncio
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from core.errors import EX_CANTCREAT, EX_DATAERR, GatepostError
from core.toml import loads
from ops.cli.account import ADMINISTRATORS, INSPECTORS
from ops.cli.argument import Help
from ops.cli.commands.access.table import keep_an_administrator
from ops.cli.commands.commit import committed, committer_of, described, render_commit
from ops.cli.commands.suspension import HIDDEN
from ops.cli.dialogue import Dialogue
from ops.cli.display import fitted, moment
from ops.cli.editing.file import read_text
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table
from ops.configuration.commit import Wish
from ops.configuration.difference import sections
from ops.configuration.mask import MASK, mask, masked_keys
from ops.configuration.place import Tables
from ops.configuration.toml import toml

KEPT = ("appliance", "console", "user", "web", "bastion", "keyd")
"""What `resetconfig` leaves as it is: who the machine is, and how its operators and its support get in."""
_LARGEST = 64 << 20


def render_text(document: Document, width: int) -> str:
    """Show the configuration as TOML."""
    return str(document["text"])


@command(
    "showconfig", "Show the configuration, secrets masked.", render=render_text, roles=INSPECTORS, multiline={"text"}
)
async def showconfig(
    call: Call, *, pending: Annotated[bool, Help("the pending one, without defaults")] = False
) -> Document:
    """The one in force has every key; the hidden listener of the central quarantine appears as `cpq_listener`."""
    if pending:
        tables = mask(await asyncio.to_thread(call.editing.tables))
        return {"configuration": tables, "text": toml(tables)}
    masked: dict[str, Any] = mask(call.appliance.configuration())
    channel = masked.get("cpq")
    if isinstance(channel, Mapping) and channel.get("port"):
        hidden = {"name": HIDDEN, "kind": "cpq", "address": channel.get("address", ""), "port": channel["port"]}
        listeners = [item for item in masked.get("listener") or [] if item.get("name") != HIDDEN]
        masked["listener"] = [*listeners, hidden]
    return {"configuration": masked, "text": toml(masked)}


def render_saved(document: Document, width: int) -> str:
    """Say where the file is."""
    return f"The file {document['file']} has been saved in the configuration directory:\n{document['path']}"


async def _ask_save(call: Call, dialogue: Dialogue) -> Document | None:
    masked = "Mask passphrases (files with masked passphrases cannot be loaded using loadconfig)"
    return {"plain": await dialogue.choose("Choose how passphrases are saved:", [masked, "Plain passphrases"]) == 1}


@command(
    "saveconfig", "Save the configuration to a file.", render=render_saved, dialogue=_ask_save, roles=ADMINISTRATORS
)
async def saveconfig(
    call: Call, *, plain: Annotated[bool, Help("with passphrases as they are; `loadconfig` takes only such")] = False
) -> Document:
    """The one in force, as it stands in gatepost.toml; without `--plain` secrets are masked.

    A file with secrets is for administrators only: neither support nor operators can read it.
    """
    editing, files = call.editing, _files(call)
    reading = await asyncio.to_thread(editing.place.in_force)
    text = reading.text if plain else toml(mask(reading.tables))
    host = re.sub(r"[^A-Za-z0-9.-]", "_", call.appliance.hostname)
    name = time.strftime("-%Y%m%dT%H%M%S.toml", time.localtime(call.appliance.now()))
    name = f"{host.lstrip('.-')[:100] or 'gatepost'}{name}"
    await asyncio.to_thread(editing.place.write, files / name, text, private=plain)
    return {"file": name, "path": str(files / name), "masked": not plain}


def render_loaded(document: Document, width: int) -> str:
    """Say what was loaded, and that it is not in force."""
    if not document["sections"]:
        return "These are the values that are there already; nothing was changed."
    lines = [f"Values have been loaded: {', '.join(document['sections'])}."]
    return fitted("\n".join([*lines, 'Be sure to run "commit" to make these settings active.']), width)


async def _ask_load(call: Call, dialogue: Dialogue) -> Document | None:
    if await dialogue.choose("\nWhere is the configuration?", ["Paste via CLI", "Load from file"]) == 1:
        return {"file": await dialogue.ask("\nEnter the name of the file to import:", below=True)}
    pasted = "\nPaste the configuration now. End with a full stop alone on a line, or with Ctrl-D on a blank line."
    return {"file": "", "pasted": await dialogue.text(pasted)}


@command(
    "loadconfig",
    "Load a configuration, or a part of one, as pending changes.",
    render=render_loaded,
    dialogue=_ask_load,
    roles=ADMINISTRATORS,
)
async def loadconfig(
    call: Call,
    file: Annotated[str, Help("a file in configuration/, or - for standard input", "FILE")],
    *,
    pasted: Annotated[str, Help("the text itself", secret=True)] = "",
) -> Document:
    """Each section of the file takes the place of that section; others stay."""
    text = pasted or await read_text(call, file, _LARGEST)
    try:
        part = await asyncio.to_thread(loads, text)
    except tomllib.TOMLDecodeError as error:
        raise GatepostError(f"not valid TOML: {error}", EX_DATAERR) from None
    if masked := list(masked_keys(part)):
        what = f"this file was saved with masked passphrases ({MASK}) and cannot be loaded: {', '.join(masked)}"
        raise GatepostError(f"{what}; save it with `saveconfig --plain`", EX_DATAERR)
    return await _replaced(call, f"loadconfig {file or 'pasted'}", lambda tables: {**tables, **part})


def _files(call: Call) -> Path:
    if call.appliance.files is None:
        raise GatepostError("this machine has no configuration directory", EX_CANTCREAT)
    return call.appliance.files


async def _replaced(call: Call, what: str, make: Callable[[Tables], Tables], *, anew: bool = False) -> Document:
    """Put what `make` makes of the pending tables in their place; gives the sections that have changed."""
    editing = call.editing
    before = await asyncio.to_thread(editing.in_force if anew else editing.tables)
    after = make(before)
    keep_an_administrator(editing.in_force(), after)
    found = sections(before, after)
    if found or anew:
        await editing.replace(what, after, anew=anew)
    return {"sections": found}


def render_reset(document: Document, width: int) -> str:
    """Say what was reset and what was not."""
    if not document["sections"]:
        return "All settings are those of a new machine already."
    lines = [f"All settings have been restored to those of a new machine: {', '.join(document['sections'])}."]
    lines.append(f"Kept: {', '.join(document['kept'])}, and the keys and certificates of this machine.")
    return fitted("\n".join([*lines, 'Be sure to run "commit" to make these settings active.']), width)


async def _ask_reset(call: Call, dialogue: Dialogue) -> Document | None:
    return {} if await dialogue.confirm("Are you sure you want to reset all configuration values?") else None


@command(
    "resetconfig",
    "Put the settings of a new machine into the pending configuration.",
    render=render_reset,
    dialogue=_ask_reset,
    roles=ADMINISTRATORS,
)
async def resetconfig(call: Call) -> Document:
    """Who the machine is, its keys, the console and its users stay: nobody is locked out."""

    def fresh(tables: Tables) -> Tables:
        return {name: value for name, value in tables.items() if name in KEPT or not value}

    kept = [name for name in call.editing.tables() if name in KEPT]
    return {**await _replaced(call, "resetconfig", fresh), "kept": kept}


def render_versions(document: Document, width: int) -> str:
    """Show one version a line, the newest first."""
    if not document["versions"]:
        return "No configuration has been saved yet."
    heads = [Column("Version", right=True), Column("Committed On"), Column("User"), Column("Description", least=12)]
    rows = [[str(one["number"]), moment(one["at"]), one["user"], one["comment"]] for one in document["versions"]]
    return "Previous Configurations:\n\n" + table(heads, rows, width)


@command(
    "rollbackconfig list", "List the configurations that one can go back to.", render=render_versions, roles=INSPECTORS
)
async def rollback_list(call: Call) -> Document:
    """The last ten that were committed, the newest first."""
    return {"versions": [described(one) for one in committer_of(call).versions.offered()]}


def render_rollback(document: Document, width: int) -> str:
    """Say what was gone back to."""
    lines = [f"Reverted to version {document['version']}: {', '.join(document['sections']) or 'nothing differs'}."]
    if document["commit"] is None:
        return "\n".join([*lines, 'Be sure to run "commit" to make these settings active.'])
    return "\n".join([*lines, render_commit(document["commit"], width)])


async def _ask_rollback(call: Call, dialogue: Dialogue) -> Document | None:
    found = await dialogue.perform("rollbackconfig list", {})
    if not found or not found["versions"]:
        return None
    there = {str(one["number"]): one for one in found["versions"]}
    number = ""
    while number not in there:
        number = await dialogue.ask("\nEnter the number of the config to revert to.", below=True)
        if not number:
            return None
    if not await dialogue.confirm("Are you sure you want to roll back the configuration?"):
        return None
    return {"number": int(number), "commit": await dialogue.confirm("Do you want to commit it now?")}


@command(
    "rollbackconfig",
    "Go back to a configuration that was in force before.",
    render=render_rollback,
    dialogue=_ask_rollback,
    roles=ADMINISTRATORS,
)
async def rollbackconfig(
    call: Call,
    number: Annotated[int, Help("a number that `rollbackconfig list` shows", "VERSION", least=1)],
    *,
    commit: Annotated[bool, Help("put it in force at once")] = False,
) -> Document:
    """It takes the place of the caller's pending changes; without `--commit` it is pending only."""
    committer, editing = committer_of(call), call.editing
    tables = await asyncio.to_thread(committer.versions.tables, number)
    document = await _replaced(call, f"rollbackconfig {number}", lambda _: tables, anew=True)
    done = None
    if commit and editing.pending:
        wish = Wish(call.caller.name, call.caller.source, f"back to version {number}")
        done = committed(await committer.commit(editing.login, wish))
    return {"version": number, **document, "commit": done}


COMMANDS = (showconfig, saveconfig, loadconfig, resetconfig, rollbackconfig, rollback_list)
