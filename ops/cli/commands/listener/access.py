"""The host access table of one listener as a whole: `hostaccess print`, `import`, `export`, `reset`, `add`, `remove`.

The text is the model's (ops/formats/hat.py): named policies, sender groups in their order, and what counts for
everybody else. Single groups and policies are changed by the table commands (table.py). Raises `GatepostError`: 65
with every fault and its line, 66 for what is not there; nothing is changed then.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from core.schema import Row
from ops.cli.argument import Help, Parameter
from ops.cli.commands.listener.place import kind_of, listener_of
from ops.cli.commands.listener.predefined import access_of
from ops.cli.dialogue import Dialogue
from ops.cli.editing.changing import PENDING, with_warnings
from ops.cli.editing.file import STREAM, read_text, text_or, write_text
from ops.cli.editing.reading import file_parameter, render_text
from ops.cli.editing.reading_in import row_of
from ops.cli.editing.row import Described, refuse
from ops.cli.editing.words import place_parameters, take_places
from ops.cli.registry import Call, Command, Document
from ops.formats import Entry, fault
from ops.formats.hat import HostAccess, format_table, in_its_words, parse

COMMAND = "listenerconfig edit NAME hostaccess"
FILE = "hat.txt"
KEYS = ("default_rule", "default_policy", "mail_flow_policy", "sender_group")
"""Keys of a listener that its host access table consists of."""
_BETWEEN = re.compile(r",(?![^(]*\))")
_SHOWN = 20
"""Entries of a group that an answer names."""
IMPLIED = {"private": "REJECT"}
Change = Callable[[Row], None]


class AccessCommands:
    """Makes the commands; knows what rows of groups and policies look like."""

    def __init__(self, groups: Described, policies: Described) -> None:
        self._groups = groups
        self._policies = policies
        self._rights = groups.table.rights

    def all(self) -> list[Command]:
        """Give every command."""
        return [
            self._print(),
            self._export(),
            self._import(),
            self._reset(),
            self._entries("add"),
            self._entries("remove"),
        ]

    def _command(
        self, name: str, summary: str, run: Any, render: Any, *further: Parameter, writes: bool = True, **more: Any
    ) -> Command:
        roles = self._rights.writers if writes else self._rights.readers
        return Command(
            f"{COMMAND} {name}",
            summary,
            run,
            (*place_parameters(COMMAND), *further),
            render,
            roles=roles,
            machines=self._rights.machines,
            multiline=frozenset({"text"}),
            **more,
        )

    def _print(self) -> Command:
        async def run(call: Call, **given: Any) -> Document:
            (name,) = take_places(COMMAND, given)
            return _text_of(listener_of(call.editing.tables(), name))

        summary = "Print the host access table of a listener in the form of its file."
        return self._command("print", summary, run, render_text, writes=False)

    def _export(self) -> Command:
        async def run(call: Call, **given: Any) -> Document:
            (name,) = take_places(COMMAND, given)
            document = _text_of(listener_of(call.editing.tables(), name))
            if given["file"] == STREAM:
                return document
            path = await write_text(call, given["file"], str(document["text"]))
            counts = {"groups": len(document["sender_group"]), "policies": len(document["mail_flow_policy"])}
            return {"file": str(path), **counts}

        def said(document: Document) -> str:
            return f"{_counted(document)} were written to {document['file']}."

        async def dialogue(call: Call, talk: Dialogue) -> Document | None:
            return {"file": await talk.ask("Enter the name of the file", FILE)}

        summary = "Write the host access table of a listener to a file."
        return self._command("export", summary, run, text_or(said), file_parameter("output"), dialogue=dialogue)

    def _import(self) -> Command:
        async def run(call: Call, **given: Any) -> Document:
            (name,) = take_places(COMMAND, given)
            text = await read_text(call, given["file"])
            table, notes = await asyncio.to_thread(self.read, text)

            changed = False

            def change(row: Row) -> None:
                nonlocal changed
                changed = self._replaced(row, table)
                if not table.keys() & {"default_policy", "default_rule"}:
                    notes.append(f"nothing is said of ALL: {_implied(row)} counts for everybody else")

            warnings = await _changed(call, name, f"import {given['file']}", change)
            counts = {"groups": len(table["sender_group"]), "policies": len(table["mail_flow_policy"])}
            return {**counts, "changed": changed, "notes": notes, "warnings": warnings}

        def render(document: Document, width: int) -> str:
            text = f"{_counted(document)} were read; {PENDING if document['changed'] else 'nothing is different'}."
            return with_warnings("\n".join([text, *(f"Note: {note}" for note in document["notes"])]), document, width)

        async def dialogue(call: Call, talk: Dialogue) -> Document | None:
            file = await talk.ask("Enter the name of the file to import", FILE)
            return {"file": file} if await talk.confirm("Replace the whole host access table?") else None

        summary = "Read the host access table of a listener from a file, in place of the one that is there."
        return self._command("import", summary, run, render, file_parameter("input"), dialogue=dialogue)

    def _reset(self) -> Command:
        async def run(call: Call, **given: Any) -> Document:
            (name,) = take_places(COMMAND, given)

            def change(row: Row) -> None:
                _replace(row, access_of(kind_of(row)))

            return {"reset": name, "warnings": await _changed(call, name, "reset", change)}

        def render(document: Document, width: int) -> str:
            text = f"The host access table of {document['reset']} is that of a new listener now; {PENDING}."
            return with_warnings(text, document, width)

        async def dialogue(call: Call, talk: Dialogue) -> Document | None:
            return (
                {} if await talk.confirm("Remove all groups and policies and begin with the predefined ones?") else None
            )

        summary = "Put the predefined policies and groups in the place of a listener's host access table."
        return self._command("reset", summary, run, render, dialogue=dialogue)

    def _entries(self, verb: str) -> Command:
        async def run(call: Call, **given: Any) -> Document:
            (name,) = take_places(COMMAND, given)
            words = [part for word in given["entries"] for part in entries_of(word)]
            document: Document = {}

            def change(row: Row) -> None:
                group = _group_of(row, given["group"])
                present = list(group.get("entries", []))
                group["entries"] = _added(present, words) if verb == "add" else _removed(present, words)
                document.update(group=group["name"], entries=group["entries"])
                refuse(self._groups.faults(group))

            warnings = await _changed(call, name, f"{verb} {given['group']}", change)
            return {**document, "warnings": warnings}

        def render(document: Document, width: int) -> str:
            entries = document["entries"]
            shown = ", ".join(entries[:_SHOWN]) or "no entries"
            more = f" and {len(entries) - _SHOWN:,} more" if len(entries) > _SHOWN else ""
            return with_warnings(f"{document['group']} has: {shown}{more}; {PENDING}.", document, width)

        async def dialogue(call: Call, talk: Dialogue) -> Document | None:
            return await _ask_entries(call, talk)

        group = Parameter("group", "positional", str, Help("name of the sender group"), (), True)
        entries = Parameter(
            "entries", "rest", str, Help("sender entries; (comment) may stand behind", "ENTRY"), (), True
        )
        summary = "Add entries to a sender group." if verb == "add" else "Remove entries from a sender group."
        return self._command(verb, summary, run, render, group, entries, dialogue=dialogue)

    def read(self, text: str) -> tuple[Row, list[str]]:
        """Read a table and what of it is not kept. Raises status 65 with every fault."""
        found = parse(text)
        faults = list(found.faults)
        policies = [_checked(self._policies, entry, faults) for entry in found.policies]
        groups = [_checked(self._groups, entry, faults) for entry in found.groups]
        faults += _repeated("policy", found.policies) + _repeated("group", found.groups) + _unknown(found)
        refuse(sorted(faults, key=lambda told: int(str(told).split(":")[0].removeprefix("line "))))
        table: Row = {"mail_flow_policy": policies, "sender_group": groups}
        if found.default is not None:
            values = found.default.values
            renamed = {"mail_flow_policy": "default_policy", "rule": "default_rule"}
            table |= {renamed[key]: value for key, value in values.items() if key in renamed}
        return table, found.notes

    def _replaced(self, row: Row, table: Row) -> bool:
        """Put a table in the place of a listener's; what says the same in other words stays. Tells if any does not."""
        before = {key: row[key] for key in KEYS if key in row}
        read: Row = {}
        with suppress(GatepostError):  # what was written by hand may have faults
            read = self.read(str(_text_of(row)["text"]))[0]
        _replace(row, {key: _as_it_was(before.get(key), read.get(key), table.get(key)) for key in KEYS})
        return before != {key: row[key] for key in KEYS if key in row}


def _as_it_was(before: Any, read: Any, new: Any) -> Any:
    """Give a new value, or rows, each as it was if that reads the same."""
    if new == read:
        return before
    if not (isinstance(before, list) and isinstance(read, list) and len(before) == len(read)):
        return new
    was = {one["name"]: (old, one) for old, one in zip(before, read, strict=True)}
    return [was[one["name"]][0] if one["name"] in was and was[one["name"]][1] == one else one for one in new or ()]


def _checked(described: Described, entry: Entry, faults: list[str]) -> Row:
    row, wrong = row_of(described, entry)
    faults += [in_its_words(reason) for reason in wrong]
    return row


def _repeated(what: str, entries: Sequence[Entry]) -> list[str]:
    seen: dict[str, int] = {}
    faults = []
    for entry in entries:
        name = str(entry.values["name"])
        if name.lower() in seen:
            faults.append(fault(entry.line, f"the {what} {name} stands in line {seen[name.lower()]} already"))
        seen.setdefault(name.lower(), entry.line)
    return faults


def _unknown(found: HostAccess) -> list[str]:
    known = {str(entry.values["name"]).lower() for entry in found.policies}
    users = [*found.groups, *([found.default] if found.default is not None else [])]
    return [
        fault(entry.at("mail_flow_policy"), f"${name}: there is no such policy in this text")
        for entry in users
        if (name := str(entry.values.get("mail_flow_policy", ""))) and name.lower() not in known
    ]


def _replace(row: Row, table: Mapping[str, Any]) -> None:
    for key in KEYS:
        row.pop(key, None)
        if table.get(key):
            row[key] = table[key]


def _counted(document: Mapping[str, Any]) -> str:
    groups, policies = document["groups"], document["policies"]
    return f"{groups:,} group{'' if groups == 1 else 's'} and {policies:,} polic{'y' if policies == 1 else 'ies'}"


def _implied(row: Mapping[str, Any]) -> str:
    return IMPLIED.get(kind_of(row), "ACCEPT")


def _text_of(row: Mapping[str, Any]) -> Document:
    policies, groups = row.get("mail_flow_policy") or [], row.get("sender_group") or []
    rule = row.get("default_rule") or _implied(row)
    default = {"mail_flow_policy": row["default_policy"]} if row.get("default_policy") else {"rule": rule}
    text = format_table(policies, groups, default, title=str(row["name"]))
    said = {"default_policy": row["default_policy"]} if row.get("default_policy") else {"default_rule": rule}
    return {"text": text, "sender_group": groups, "mail_flow_policy": policies, **said}


async def _changed(call: Call, name: str, what: str, change: Change) -> list[str]:
    def edit(tables: dict[str, Any]) -> None:
        change(listener_of(tables, name))

    return await call.editing.change(f"listenerconfig edit {name} hostaccess {what}", edit)


def _group_of(row: Row, name: str) -> Row:
    groups = row.get("sender_group") or []
    found = next((group for group in groups if str(group["name"]).lower() == name.lower()), None)
    if found is None:
        there = ", ".join(str(group["name"]) for group in groups) or "none"
        raise GatepostError(f"no sender group is called {name!r}; there are: {there}", EX_NOINPUT)
    return dict_of(found)


def dict_of(group: Any) -> Row:
    """Give a group as the mapping that stands in the tables: changes to it count."""
    assert isinstance(group, dict)
    return group


def entries_of(text: str) -> list[str]:
    """Split entries at commas; those within a (comment) belong to it."""
    return [part.strip() for part in _BETWEEN.split(text) if part.strip()]


def bare(entry: str) -> str:
    """Give a sender entry without its comment, for comparing."""
    return entry.partition(" (")[0].strip().lower()


def _added(present: list[str], words: Sequence[str]) -> list[str]:
    known = {bare(entry) for entry in present}
    if twice := [word for word in words if bare(word) in known]:
        raise GatepostError(f"{', '.join(twice)}: in the group already", EX_DATAERR)
    return [*present, *words]


def _removed(present: list[str], words: Sequence[str]) -> list[str]:
    known = {bare(entry) for entry in present}
    if missing := [word for word in words if bare(word) not in known]:
        raise GatepostError(f"{', '.join(missing)}: not in the group", EX_NOINPUT)
    away = {bare(word) for word in words}
    return [entry for entry in present if bare(entry) not in away]


async def _ask_entries(call: Call, talk: Dialogue) -> Document | None:
    row = listener_of(call.editing.tables(), call.places[0])
    names = [str(group["name"]) for group in row.get("sender_group") or []]
    if not names:
        talk.say("There are no sender groups; NEW makes one.")
        return None
    place = await talk.choose("Choose the sender group:", names)
    answer = await talk.ask("Enter the entries, separated by commas")
    words = entries_of(answer)
    return {"group": names[place], "entries": words} if words else None
