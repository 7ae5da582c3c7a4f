"""`listenerconfig` itself and `listenerconfig setup`: the menus above all that is edited of listeners."""

from dataclasses import replace
from typing import Final

from ops.cli.commands.listener.edit import edit_menu
from ops.cli.commands.listener.place import listeners_of
from ops.cli.commands.listener.rows import pick
from ops.cli.commands.listener.table import RIGHTS
from ops.cli.dialogue import Dialogue
from ops.cli.editing.menu import run_extra
from ops.cli.editing.table import Extra, Menu
from ops.cli.registry import Call, Command, Document

SETUP: Final = Menu(
    "listenerconfig setup",
    "Change what holds for all listeners together.",
    (
        Extra("CONSERVATION", "Change when and how receiving slows down.", "listenerconfig setup conservation"),
        Extra("LOGIN", "Change how failed log-ins are slowed down.", "listenerconfig setup login"),
    ),
    rights=RIGHTS,
)
_CHANGING: Final = (
    Extra("NEW", "Create a new listener.", "listenerconfig new"),
    Extra("DELETE", "Remove a listener.", "listenerconfig delete"),
)


def top() -> Command:
    """Make the command that is only a menu."""
    return Command(
        "listenerconfig",
        "Show and change the listeners.",
        None,
        dialogue=dialogue,
        roles=RIGHTS.readers,
        machines=RIGHTS.machines,
    )


async def dialogue(call: Call, talk: Dialogue) -> Document | None:
    """Show listeners and menu until the caller leaves."""
    changing = {one.name: one for one in _CHANGING if call.may(one.command)}
    while True:
        await talk.perform("listenerconfig list", {})
        some = bool(listeners_of(call.editing.tables()))
        offered = {
            "NEW": "Create a new listener.",
            "EDIT": "Modify a listener." if changing else "Show a listener.",
            "DELETE": "Remove a listener.",
            "SETUP": "Change global settings.",
        }
        names = {
            "NEW": "NEW" in changing,
            "EDIT": some,
            "DELETE": some and "DELETE" in changing,
            "SETUP": bool(changing),
        }
        choice = await talk.menu({name: text for name, text in offered.items() if names[name]})
        if not choice:
            return None
        if choice == "EDIT":
            name = await pick(call, talk, "Enter the name or number of the listener you wish to edit.")
            if name:
                await edit_menu(replace(call, places=(name,)), talk)
        else:
            await run_extra(call, talk, changing.get(choice) or Extra("SETUP", "", SETUP.command))
