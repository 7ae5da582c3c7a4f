"""`listenerconfig edit NAME`: its menu with the summary above it, and the commands that rename and move a listener.

The other operations are declared in table.py. Raises `GatepostError`: 65 for a name or address that is taken, 66 for a
listener that is not there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.errors import EX_DATAERR, GatepostError
from ops.cli.argument import Help, Parameter
from ops.cli.commands.listener.create import ask_address, ask_port, refuse_same_port
from ops.cli.commands.listener.place import (
    address_from,
    address_of,
    default_policy,
    interface_at,
    kind_of,
    line_of,
    listener_of,
    listeners_of,
)
from ops.cli.commands.listener.predefined import KINDS, parameters_text
from ops.cli.commands.listener.table import COMMAND, OPERATIONS, RIGHTS
from ops.cli.dialogue import Dialogue
from ops.cli.editing.changing import PENDING, with_warnings
from ops.cli.editing.menu import run_extra
from ops.cli.editing.table import Extra
from ops.cli.editing.words import place_parameters, take_places
from ops.cli.registry import Call, Command, Document

_PUBLIC_ONLY = {"RCPTACCESS"}


def summary_of(call: Call, tables: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Show a listener as the menu does."""
    address = address_of(row)
    policy = default_policy(call, row)
    counts = {key: len(row.get(key) or []) for key in ("sender_group", "rat", "domain_map", "masquerade")}
    rows = [
        ("Name", row["name"]),
        ("Type", KINDS[kind_of(row)]),
        ("Interface", f"{interface_at(tables, address) or 'none'} ({address}) TCP Port {row.get('port', 25)}"),
        ("Protocol", "SMTP"),
        (
            "Max Concurrent Connections",
            f"{row.get('max_connections', 600):,} (TCP Queue: {row.get('tcp_queue', 1024):,})",
        ),
        ("Domain Map", _entries(counts["domain_map"])),
        ("Masquerading", _entries(counts["masquerade"])),
        ("TLS", f"{policy.get('tls') or 'preferred'} ({row.get('tls', 'starttls')})"),
        ("SMTP Authentication", str(policy.get("auth") or "off")),
        ("Bounce Profile", row.get("bounce_profile") or "Default"),
        ("Bounce Verification", row.get("bounce_verification", "off")),
        ("Heading", row.get("heading") or "None"),
        ("Footer", row.get("footer") or "None"),
        ("Host Access Table", _entries(counts["sender_group"], "sender group")),
    ]
    if kind_of(row) == "public":
        rows.append(("Recipient Access Table", f"{_entries(counts['rat'])}; all others are refused"))
    return "\n".join(f"{name}: {value}" for name, value in rows)


def _entries(count: int, one: str = "row") -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}" if count else "Empty"


async def edit_menu(call: Call, talk: Dialogue) -> Document | None:
    """Show the summary and the menu until the caller leaves."""
    name = call.places[0]
    while True:
        tables = call.editing.tables()
        row = listener_of(tables, name)
        talk.say(f"\n{summary_of(call, tables, row)}")
        offered = {one.name: one for one in OPERATIONS if _possible(call, row, one)}
        choice = await talk.menu({one.name: one.text for one in offered.values()})
        if not choice:
            return None
        if choice == "NAME":
            document = await _rename(call, talk, name)
            name = document["name"] if document else name
            call = replace(call, places=(name,))
        else:
            await run_extra(call, talk, offered[choice])


def _possible(call: Call, row: Mapping[str, Any], one: Extra) -> bool:
    if one.name in _PUBLIC_ONLY and kind_of(row) != "public":
        return False
    return call.may(one.command)


async def _rename(call: Call, talk: Dialogue, name: str) -> Document | None:
    answer = await talk.ask("Enter the new name of the listener", name)
    return await talk.perform(f"{COMMAND} name", {"in_name": name, "new_name": answer}) if answer != name else None


def commands() -> list[Command]:
    """Make the commands of this module."""
    return [_menu(), _renamed(), _moved(), _shown()]


def _menu() -> Command:
    return Command(
        COMMAND,
        "Show one listener and change all of it by menus.",
        None,
        tuple(place_parameters(COMMAND)),
        dialogue=edit_menu,
        roles=RIGHTS.readers,
        machines=RIGHTS.machines,
    )


def _shown() -> Command:
    async def run(call: Call, **given: Any) -> Document:
        (name,) = take_places(COMMAND, given)
        tables = call.editing.tables()
        row = listener_of(tables, name)
        text = f"{summary_of(call, tables, row)}\n\n{parameters_text(default_policy(call, row))}"
        return {"listener": row, "policy": default_policy(call, row), "text": text}

    return Command(
        f"{COMMAND} print",
        "Show one listener and its default policy.",
        run,
        tuple(place_parameters(COMMAND)),
        lambda document, width: str(document["text"]),
        roles=RIGHTS.readers,
        machines=RIGHTS.machines,
        multiline=frozenset({"text"}),
    )


def _renamed() -> Command:
    async def run(call: Call, **given: Any) -> Document:
        (name,) = take_places(COMMAND, given)
        wanted = given["new_name"]

        def edit(tables: dict[str, Any]) -> None:
            row = listener_of(tables, name)
            if any(str(other["name"]).lower() == wanted.lower() for other in listeners_of(tables) if other is not row):
                raise GatepostError(f"a listener {wanted} is there already", EX_DATAERR)
            row["name"] = wanted

        warnings = await call.editing.change(f"listenerconfig edit {name} name {wanted}", edit)
        return {"name": wanted, "before": name, "warnings": warnings}

    def render(document: Document, width: int) -> str:
        return with_warnings(f"{document['before']} is called {document['name']} now; {PENDING}.", document, width)

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        return {"new_name": await talk.ask("Enter the new name of the listener", call.places[0])}

    wanted = Parameter("new_name", "positional", str, Help("its new name", "NEW-NAME"), (), True)
    return Command(
        f"{COMMAND} name",
        "Give a listener another name; its port stays open.",
        run,
        (*place_parameters(COMMAND), wanted),
        render,
        dialogue,
        roles=RIGHTS.writers,
        machines=RIGHTS.machines,
    )


def _moved() -> Command:
    async def run(call: Call, **given: Any) -> Document:
        (name,) = take_places(COMMAND, given)
        address = address_from(call.editing.tables(), given["address"])
        document: Document = {}

        def edit(tables: dict[str, Any]) -> None:
            row = listener_of(tables, name)
            row["address"] = address
            if given["port"] is not None:
                row["port"] = given["port"]
            for other in listeners_of(tables):
                if other is not row:
                    refuse_same_port(row, other)
            document.update(address=address, port=row.get("port", 25), line=line_of(tables, row))

        warnings = await call.editing.change(f"listenerconfig edit {name} interface {given['address']}", edit)
        return {**document, "warnings": warnings}

    def render(document: Document, width: int) -> str:
        return with_warnings(f"{document['line']}; {PENDING}.", document, width)

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        tables = call.editing.tables()
        row = listener_of(tables, call.places[0])
        address = await ask_address(talk, tables, address_of(row))
        return {"address": address, "port": await ask_port(talk, tables, address, row.get("port", 25), row["name"])}

    address = Parameter("address", "positional", str, Help("IP address, or name of an interface"), (), True)
    port = Parameter("port", "positional", int, Help("TCP port; as it is if left out", least=1, most=65_535))
    return Command(
        f"{COMMAND} interface",
        "Have a listener at another address or port; open connections go on.",
        run,
        (*place_parameters(COMMAND), address, port),
        render,
        dialogue,
        roles=RIGHTS.writers,
        machines=RIGHTS.machines,
    )
