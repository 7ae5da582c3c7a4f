"""The dialogue of `filters`: the list, and the model's menu over the commands of ops/cli/commands/filters.py."""

from ops.cli.commands.filters import ESA, LAST, WHICH, listing, render_list
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document

_MENU = {
    "NEW": "Create a new filter.",
    "DELETE": "Remove a filter.",
    "IMPORT": "Read filters from a file.",
    "EXPORT": "Write filters to a file.",
    "MOVE": "Move a filter or a range to another place.",
    "SET": "Make filters active or inactive.",
    "LIST": "List the filters.",
    "DETAIL": "Show filters as they are written.",
}


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    while True:
        listed = listing(call)
        dialogue.say()
        dialogue.say(render_list(listed, call.width))
        allowed = {
            name: text
            for name, text in _MENU.items()
            if (listed["filters"] or name in {"NEW", "IMPORT"}) and call.may(f"filters {name.lower()}")
        }
        choice = await dialogue.menu(allowed)
        if not choice:
            return None
        arguments = await _QUESTIONS[choice](dialogue)
        await dialogue.perform(f"filters {choice.lower()}", arguments)


async def _ask_new(dialogue: Dialogue) -> Document:
    before = await dialogue.ask("Enter the number or name of the filter to insert before, or last", LAST)
    text = await dialogue.text("Enter the filter; end with . on a line of its own.")
    return {"before": before, "text": text}


async def _ask_which(dialogue: Dialogue) -> Document:
    return {"which": await dialogue.ask(f"Enter the filter ({WHICH})", "all")}


async def _ask_one(dialogue: Dialogue) -> Document:
    return {"which": await _named(dialogue)}


async def _named(dialogue: Dialogue) -> str:
    while not (answer := await dialogue.ask(f"Enter the filter ({WHICH})")):
        dialogue.say("An answer is needed here.")
    return answer


async def _ask_move(dialogue: Dialogue) -> Document:
    which = await _named(dialogue)
    return {"which": which, "before": await dialogue.ask("Enter the filter to move it before, or last", LAST)}


async def _ask_set(dialogue: Dialogue) -> Document:
    which = await _named(dialogue)
    states = ("active", "inactive")
    return {"which": which, "state": states[await dialogue.choose("Choose the state:", states)]}


async def _ask_file(dialogue: Dialogue) -> Document:
    return {"file": await dialogue.ask("Enter the name of the file", "filters.txt")}


async def _ask_nothing(_dialogue: Dialogue) -> Document:
    return {}


_QUESTIONS = {
    "NEW": _ask_new,
    "DELETE": _ask_one,
    "IMPORT": _ask_file,
    "EXPORT": _ask_file,
    "MOVE": _ask_move,
    "SET": _ask_set,
    "LIST": _ask_nothing,
    "DETAIL": _ask_which,
}

COMMANDS = (Command("filters", "Show and change the message filters.", None, dialogue=_menu, machines=ESA),)
