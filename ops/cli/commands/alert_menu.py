"""The dialogue of `alertconfig`: the model's menu over the commands of ops/cli/commands/alert.py."""

from core.alert.kind import CLASSES, SEVERITIES
from ops.cli.commands.alert import facts_of, rows_of
from ops.cli.commands.staged import Operations, menu_of, pick
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document
from ops.configuration.place import Tables

_LIST = "alertconfig list"


async def _ask_classes(dialogue: Dialogue, classes: list[str], severity: str) -> tuple[str, str]:
    names = ["All", *CLASSES]
    texts = ["All - every class"] + [f"{name} - {about}" for name, about in CLASSES.items()]
    before = [places for places, name in enumerate(names, 1) if name in classes]
    chosen = await dialogue.choose_several("Which alert classes?", texts, (before or [1])[0])
    grades = [f"{one} and above" if one != SEVERITIES[-1] else one for one in SEVERITIES]
    default = [one.lower() for one in SEVERITIES].index(severity) + 1
    grade = await dialogue.choose("Which severities?", grades, default)
    return ",".join(names[place] for place in chosen), SEVERITIES[grade].lower()


async def _ask_new(dialogue: Dialogue) -> None:
    dialogue.say("Please enter a new email address to send alerts.")
    address = await dialogue.ask('(Ex: "administrator@example.com")')
    if address:
        classes, severity = await _ask_classes(dialogue, [], "info")
        await dialogue.perform("alertconfig new", {"address": address, "classes": classes, "severity": severity})


async def _which(call: Call, dialogue: Dialogue, verb: str) -> Tables | None:
    rows = rows_of(call.editing.tables())
    for place, row in enumerate(rows, 1):
        dialogue.say(f"{place}. {row['address']}")
    answer = await dialogue.ask(f"Which recipient do you want to {verb}? Enter the number or the address.")
    name = pick([row["address"] for row in rows], answer)
    if answer and not name:
        dialogue.say(f"There is no recipient {answer}.")
    return next((row for row in rows if row["address"] == name), None)


async def _ask_edit(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "edit")
    if row is not None:
        to = await dialogue.ask("Please enter the email address.", row["address"])
        classes, severity = await _ask_classes(dialogue, row["classes"], row["severity"])
        arguments = {"address": row["address"], "to": to, "classes": classes, "severity": severity}
        await dialogue.perform("alertconfig edit", arguments)


async def _ask_delete(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "delete")
    if row is not None:
        await dialogue.perform("alertconfig delete", {"address": row["address"]})


async def _ask_clear(dialogue: Dialogue) -> None:
    if await dialogue.confirm("Are you sure you want to clear all alert recipients?"):
        await dialogue.perform("alertconfig clear", {"yes": True})


async def _ask_setup(call: Call, dialogue: Dialogue) -> None:
    facts = facts_of(call.editing.tables(), call.appliance.hostname)
    repeat = await dialogue.number(
        "Initial number of seconds to wait before sending a duplicate alert.", int(facts["repeat_s"]), 86400
    )
    longest = await dialogue.number(
        "Maximum number of seconds to wait before sending a duplicate alert.", int(facts["repeat_longest_s"]), 86400
    )
    host = await dialogue.ask(
        "Host that takes alerts; - for the mail exchangers of the recipient.", facts["host"] or "-"
    )
    arguments = {"repeat_s": repeat, "repeat_longest_s": longest, "host": "" if host == "-" else host}
    await dialogue.perform("alertconfig setup", arguments)


async def _ask_from(dialogue: Dialogue) -> None:
    address = await dialogue.ask("Please enter the address that alerts are sent from; empty for the default.")
    await dialogue.perform("alertconfig from", {"address": address})


async def _ask_test(dialogue: Dialogue) -> None:
    classes = list(CLASSES)
    chosen = classes[await dialogue.choose("Which class?", classes)]
    grade = SEVERITIES[await dialogue.choose("Which severity?", SEVERITIES)].lower()
    await dialogue.perform("alertconfig test", {"class_": chosen, "severity": grade})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations: Operations = {
        "NEW": ("Add a new email address to send alerts to.", lambda: _ask_new(dialogue)),
        "EDIT": ("Modify who gets which alerts.", lambda: _ask_edit(call, dialogue)),
        "DELETE": ("Remove an email address.", lambda: _ask_delete(call, dialogue)),
        "CLEAR": ("Remove all email addresses (disable alerts).", lambda: _ask_clear(dialogue)),
        "SETUP": ("Configure how often and by which host alerts are sent.", lambda: _ask_setup(call, dialogue)),
        "FROM": ("Configure the From address of alerts.", lambda: _ask_from(dialogue)),
        "TEST": ("Send a test alert now.", lambda: _ask_test(dialogue)),
    }
    await menu_of(call, dialogue, _LIST, operations)
    return None


COMMANDS = (Command("alertconfig", "Configure who gets alerts.", run=None, dialogue=_menu),)
