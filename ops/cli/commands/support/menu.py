"""The dialogue of `techsupport`: state, menu, questions, and again until the operator leaves."""

from ops.cli.account import STAFF, Role
from ops.cli.commands.support.access import addresses
from ops.cli.commands.support.state import enabled, ports_of
from ops.cli.dialogue import Dialogue
from ops.cli.registry import MAIL_MACHINES, Call, Command, Document

_SURE = "Are you sure you want to {} service access?"
_SEED = (
    "A seed string is needed: support makes the password from it and this machine's\n"
    "serial number, and nobody else can. It is no password itself."
)
_SHOW = {"STATUS": "Show the current state of service access.", "PROBE": "Try the ports of the bastion."}
_ALLOW = {
    "SSHACCESS": "Allow support to log in, without a tunnel.",
    "TUNNEL": "Allow support to log in, through a tunnel to support.",
}
_CHANGE = {
    "SSHACCESS": "Disable support logins, or allow them anew without a tunnel.",
    "TUNNEL": "Disable support logins, or allow them anew through a tunnel.",
}
_PEOPLE = {
    "waiting": {"APPROVE": "Let a session begin that waits for you.", "REFUSE": "Turn a session away that waits."},
    "sessions": {"WATCH": "See the screen of a session.", "KILL": "End a session."},
}
_END = {"DISABLE": "Prevent support from logging in."}


async def _seed(call: Call, dialogue: Dialogue) -> str:
    """Let a seed string be made (gives '') or typed in."""
    way = await dialogue.choose(_SEED, ["Generate a seed string (recommended)", "Enter a seed string"])
    if way == 0:
        return ""

    async def typed() -> str:
        seed = await dialogue.ask("Enter the seed string, as you will give it to support:")
        call.appliance.check_seed(seed)
        return seed

    return await dialogue.until_right(typed)


async def _hops(call: Call, dialogue: Dialogue) -> str:
    """Ask for the appliances that can be reached through this one."""

    async def typed() -> str:
        answer = await dialogue.ask("Which other appliances may support reach from here (addresses)?", "none")
        found = addresses(answer)
        call.appliance.check_hops(found)
        return ",".join(found)

    return await dialogue.until_right(typed)


async def _port(dialogue: Dialogue, ports: tuple[int, ...]) -> int:
    known = ", ".join(str(port) for port in sorted(ports))
    while True:
        answer = await dialogue.ask(f"Please enter the port number for the tunnel ({known}).", str(ports[0]))
        if answer.isdecimal() and int(answer) in ports:
            return int(answer)
        dialogue.say(f"Please answer with one of: {known}.")


async def _terms(call: Call, dialogue: Dialogue) -> Document:
    terms: Document = {"ask": await dialogue.confirm("Do you want to be asked before each session?")}
    if (call.appliance.configuration().get("tunnel") or {}).get("service_user"):
        question = "Do you want to allow a full login shell, besides this console?"
        return {**terms, "shell": await dialogue.confirm(question)}
    dialogue.say("There is no login shell here: [tunnel] service_user is empty.")
    return terms


async def _enable(call: Call, dialogue: Dialogue, mode: str) -> None:
    arguments: Document = {"seed": await _seed(call, dialogue)}
    if mode == "tunnel":
        arguments["port"] = await _port(dialogue, ports_of(call))
        arguments["hops"] = await _hops(call, dialogue)
    arguments |= await _terms(call, dialogue)
    if await dialogue.confirm(_SURE.format("enable")):
        await dialogue.perform(f"techsupport {mode}", arguments)


async def _disable(dialogue: Dialogue) -> None:
    if await dialogue.confirm(_SURE.format("disable")):
        await dialogue.perform("techsupport disable", {})


async def _again(call: Call, dialogue: Dialogue, mode: str) -> None:
    """What TUNNEL and SSHACCESS offer while access is enabled: to end it, or to enable it anew."""
    options = {**_END, "ENABLE": f"Enable {mode.upper()} anew, with a new seed string; the old one ends."}
    chosen = await dialogue.menu(options)
    if chosen == "DISABLE":
        await _disable(dialogue)
    elif chosen:
        await _enable(call, dialogue, mode)


async def _one(document: Document, dialogue: Dialogue, verb: str) -> None:
    """Do something to one of the sessions that are in or wait; the only one is proposed."""
    kind = next(kind for kind, verbs in _PEOPLE.items() if verb in verbs)
    ids = [str(one.get("id") or "") for one in document[kind]]
    chosen = await dialogue.ask("Which session (its ID)?", ids[0] if len(ids) == 1 else "")
    if chosen:
        await dialogue.perform(f"techsupport {verb.lower()}", {"id_": chosen})


def _operations(call: Call, document: Document) -> dict[str, str]:
    """Give what this caller may do in this state."""
    if enabled(document):
        people = [verbs for kind, verbs in _PEOPLE.items() if document[kind]]
        offered = {**_END, **{name: text for verbs in people for name, text in verbs.items()}, **_CHANGE, **_SHOW}
    else:
        offered = {**_ALLOW, **_SHOW}
    allowed = {item.name for item in call.registry.visible(call.appliance.role, call.caller)}
    return {name: text for name, text in offered.items() if f"techsupport {name.lower()}" in allowed}


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    while True:
        document = await dialogue.perform("techsupport status", {})
        if document is None:
            return None
        chosen = await dialogue.menu(_operations(call, document))
        if not chosen:
            return None
        if chosen == "PROBE":
            await dialogue.perform("techsupport probe", {})
        elif chosen == "DISABLE":
            await _disable(dialogue)
        elif chosen in _ALLOW:
            await (_again if enabled(document) else _enable)(call, dialogue, chosen.lower())
        elif chosen != "STATUS":
            await _one(document, dialogue, chosen)


techsupport = Command(
    "techsupport",
    "Let support in, see who is in, or end it.",
    run=None,
    dialogue=_menu,
    roles=STAFF | {Role.SUPPORT},
    machines=MAIL_MACHINES,
)
