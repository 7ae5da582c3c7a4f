"""The dialogue of `userconfig`: the model's menu over the commands of `user`."""

from collections.abc import Sequence

from ops.cli.account import ADMINISTRATORS, WAYS, Role
from ops.cli.commands.access.table import needs_password, users, ways_of
from ops.cli.commands.staged import Operations, menu_of, pick
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document

_LIST = "userconfig list"
_ROLES = (Role.ADMINISTRATOR, Role.OPERATOR, Role.GUEST)
_ROLE_TEXTS = (
    "Administrator - everything",
    "Operator - mail, queue and quarantine",
    "Guest - looks on",
)
_WAY_TEXTS = ("Key", "Password", "Key and one-time code", "Password and one-time code")
_ACTS = ("new", "codes", "delete")
_ACT_TEXTS = ("A new secret, and recovery codes", "New recovery codes", "No codes any more")


async def new_password(dialogue: Dialogue, question: str = "Enter the new password") -> str:
    """Ask for a password until it is typed twice alike; '' on empty input."""
    while True:
        typed = await dialogue.secret(question)
        if not typed or typed == await dialogue.secret("Enter it once more"):
            return typed
        dialogue.say("The two differ.")


async def _ask_new(dialogue: Dialogue) -> None:
    name = await dialogue.ask("Enter the new user name.")
    if not name:
        return
    role = _ROLES[await dialogue.choose("Assign a role to the user:", _ROLE_TEXTS, 2)]
    ways = await _ask_ways(dialogue, [2])
    arguments: Document = {"name": name, "role": str(role), "login": ",".join(ways)}
    if any(way.startswith("key") for way in ways):
        arguments["key"] = await dialogue.ask("Paste the user's public key (TYPE BASE64 COMMENT).")
    if needs_password(ways):
        arguments["password"] = await new_password(dialogue)
        if not arguments["password"]:
            dialogue.say("Nothing was created: these ways to log in need a password.")
            return
        must = await dialogue.confirm("Ask for another password at the first log-in?", default=True)
        arguments["must_change"] = "yes" if must else "no"
    await dialogue.perform("userconfig new", arguments)


async def _ask_ways(dialogue: Dialogue, before: Sequence[int]) -> list[str]:
    question = "How may the user log in? Any one of several is enough."
    chosen = await dialogue.choose_several(question, _WAY_TEXTS, before[0])
    return [WAYS[place] for place in chosen]


async def _which(call: Call, dialogue: Dialogue, verb: str) -> Document | None:
    rows = users(call.editing.tables())
    for place, row in enumerate(rows, 1):
        dialogue.say(f"{place}. {row.get('name')}")
    answer = await dialogue.ask(f"Enter the name or number of the user to {verb}.")
    name = pick([str(row.get("name")) for row in rows], answer)
    if answer and not name:
        dialogue.say(f"There is no user {answer}.")
    return next((row for row in rows if row.get("name") == name), None)


async def _ask_edit(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "edit")
    if row is None:
        return
    role = str(row.get("role", Role.GUEST))
    place = await dialogue.choose(
        "Assign a role to the user:", _ROLE_TEXTS, [str(one) for one in _ROLES].index(role) + 1
    )
    ways = await _ask_ways(dialogue, [WAYS.index(way) + 1 for way in ways_of(row)])
    arguments = {"name": row["name"], "role": str(_ROLES[place]), "login": ",".join(ways)}
    await dialogue.perform("userconfig edit", arguments)


async def _ask_delete(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "remove")
    if row is not None and await dialogue.confirm(f"Remove the user {row['name']}?"):
        await dialogue.perform("userconfig delete", {"name": row["name"]})


async def _ask_password(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "set the password of")
    if row is not None and (typed := await new_password(dialogue)):
        must = await dialogue.confirm("Ask for another password at the next log-in?", default=True)
        arguments = {"name": row["name"], "password": typed, "must_change": "yes" if must else "no"}
        await dialogue.perform("userconfig password", arguments)


async def _ask_totp(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "give codes")
    if row is not None:
        act = _ACTS[await dialogue.choose("What is to be done?", _ACT_TEXTS)]
        await dialogue.perform("userconfig totp", {"act": act, "name": row["name"]})


async def _ask_unlock(dialogue: Dialogue) -> None:
    if name := await dialogue.ask("Enter the user name or IP address to unlock."):
        await dialogue.perform("userconfig unlock", {"name": name})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations: Operations = {
        "NEW": ("Create a new user.", lambda: _ask_new(dialogue)),
        "EDIT": ("Change a user's role and ways to log in.", lambda: _ask_edit(call, dialogue)),
        "DELETE": ("Remove a user.", lambda: _ask_delete(call, dialogue)),
        "PASSWORD": ("Set a user's password.", lambda: _ask_password(call, dialogue)),
        "TOTP": ("Make, renew or remove a user's one-time codes.", lambda: _ask_totp(call, dialogue)),
        "UNLOCK": ("Let a user or an address log in again that is locked out.", lambda: _ask_unlock(dialogue)),
    }
    await menu_of(call, dialogue, _LIST, operations)
    return None


userconfig = Command(
    "userconfig",
    "Create, change and remove the users of the console.",
    run=None,
    dialogue=_menu,
    roles=ADMINISTRATORS,
)
