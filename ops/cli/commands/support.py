"""`techsupport`: letting support in, and seeing whether it is. Dialogue of the model appliances.

TUNNEL opens the reverse tunnel to the support organisation's bastion, SSHACCESS allows support logins without
one, DISABLE ends both. Until seed strings are introduced, what is trusted is the engineer certificate authority
named in the configuration; the dialogue says so.
"""

from typing import Annotated, Any

from ops.cli.account import ADMINISTRATORS, STAFF, Role
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import moment
from ops.cli.registry import MAIL_MACHINES, Call, Command, Document, command

_CLIENT = "tunnel-client"
_PORTS = (22, 25, 53, 80, 443, 4766)
_DEFAULT_PORT = 25
_START_S = 60.0
_TRUST = (
    "Logins are accepted for the user `service` only, with a certificate that the engineer authority named in the\n"
    "configuration has signed for this serial number and that has not expired. No seed string, no password is in use."
)


def _enabled(document: Document) -> bool:
    return str(document.get("mode") or "disabled").lower() not in {"", "disabled", "off", "none"}


def render_status(document: Document, width: int) -> str:
    """Show whether access is enabled, how the tunnel is, and who is in."""
    sessions = document.get("sessions") or []
    if not _enabled(document):
        return f"Service Access currently disabled.\nSerial Number: {document.get('serial', '')}"
    lines = [
        f"Service Access currently ENABLED ({len(sessions)} current service logins)",
        _tunnel_line(document),
    ]
    if document.get("until"):
        lines.append(f"No new tunnel connections after: {_when(document['until'])}")
    if document.get("problem"):
        lines.append(f"Last problem: {document['problem']}")
    lines += [_attempt(one) for one in document.get("attempts") or [] if one.get("advice")]
    lines += [f"  Logged in: {_who(one)}" for one in sessions]
    return "\n".join([*lines, f"Serial Number: {document.get('serial', '')}"])


def render_enabled(document: Document, width: int) -> str:
    """Say that access was enabled, and what to give to support."""
    alone = ", without a tunnel" if document.get("mode") == "sshaccess" else ""
    mode = f"Remote Access has been enabled{alone}"
    lines = [f"Success - {mode}.", f"Give this serial number to support: {document.get('serial', '')}"]
    return "\n".join([*lines, _tunnel_line(document)])


def _tunnel_line(document: Document) -> str:
    state = str(document.get("tunnel") or "not active")
    port = document.get("port")
    if state in {"disabled", "not active"}:
        return "Tunnel option is not active."
    return f"Tunnel option is active: {state}" + (f", port {port}." if port else ".")


def _attempt(attempt: Any) -> str:
    where = f"{attempt.get('address', '')} port {attempt.get('port', '')}"
    return f"  Tried {where}: {attempt.get('verdict', '')}: {attempt['advice']}"


def _when(value: Any) -> str:
    return moment(value) if isinstance(value, int | float) else str(value)


def _who(session: Any) -> str:
    if not isinstance(session, dict):
        return str(session)
    name = session.get("engineer") or session.get("from") or "unknown"
    since = session.get("since")
    return f"{name} since {_when(since)}" if since else str(name)


def _complete(call: Call, document: Document) -> Document:
    """Give the stable fields of the document, whatever the client left out."""
    # The console knows the engineers' names; the tunnel client only counts connections.
    inside = [
        {"engineer": one["identity"], "from": one["source"], "since": one["since_at"]}
        for one in call.appliance.sessions()
        if one["role"] == Role.SUPPORT
    ]
    sessions = inside or document.get("sessions") or []
    fields = ("mode", "tunnel", "port", "since", "until", "seed_fingerprint")
    return {**dict.fromkeys(fields), **document, "sessions": sessions, "serial": call.appliance.serial}


@command(
    "techsupport status",
    "Show whether support may log in, and who is logged in.",
    render=render_status,
    roles=STAFF | {Role.SUPPORT},
    machines=MAIL_MACHINES,
)
async def status(call: Call) -> Document:
    """Asks the tunnel client."""
    return _complete(call, await call.appliance.ask(_CLIENT, "techsupport_status"))


async def _enable(call: Call, mode: str, port: int | None) -> Document:
    document = await call.appliance.ask(_CLIENT, "techsupport_enable", _START_S, mode=mode, port=port)
    return _complete(call, document)


@command(
    "techsupport tunnel",
    "Let support log in through a tunnel that this machine opens.",
    render=render_enabled,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def tunnel(
    call: Call,
    *,
    port: Annotated[int | None, Help("port of the bastion to try first", "PORT", 1, 65535)] = None,
) -> Document:
    """The tunnel takes new connections for seven days; service access stays until it is disabled."""
    return await _enable(call, "tunnel", port)


@command(
    "techsupport sshaccess",
    "Let support log in without a tunnel, from a second machine.",
    render=render_enabled,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def sshaccess(call: Call) -> Document:
    """For a machine without internet access; stays until it is disabled."""
    return await _enable(call, "sshaccess", None)


def render_disabled(document: Document, width: int) -> str:
    """Say that access has ended."""
    return f"Success - Remote Access has been disabled.\nSerial Number: {document.get('serial', '')}"


@command(
    "techsupport disable",
    "End service access and the tunnel.",
    render=render_disabled,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def disable(call: Call) -> Document:
    """Support sessions that are open are cut."""
    return _complete(call, await call.appliance.ask(_CLIENT, "techsupport_disable") or {})


_SURE = "Are you sure you want to {} service access?"


async def _tunnel(dialogue: Dialogue, ports: tuple[int, ...]) -> None:
    dialogue.say(_TRUST)
    known = ", ".join(str(port) for port in sorted(ports))
    while True:
        answer = await dialogue.ask(f"Please enter the port number for the tunnel ({known}).", str(ports[0]))
        if answer.isdecimal() and int(answer) in ports:
            break
        dialogue.say(f"Please answer with one of: {known}.")
    if await dialogue.confirm(_SURE.format("enable")):
        await dialogue.perform("techsupport tunnel", {"port": int(answer)})


async def _sshaccess(dialogue: Dialogue) -> None:
    dialogue.say(_TRUST)
    if await dialogue.confirm(_SURE.format("enable")):
        await dialogue.perform("techsupport sshaccess", {})


def _ports(call: Call) -> tuple[int, ...]:
    """Give the ports of the bastion, the one that is tried first in front."""
    section = call.appliance.configuration().get("tunnel") or {}
    first, others = int(section.get("port") or _DEFAULT_PORT), section.get("ports") or _PORTS
    return tuple(dict.fromkeys([first, *(int(port) for port in others)]))


def _operations(enabled: bool) -> dict[str, str]:
    if enabled:
        return {"DISABLE": "Prevent support from logging in.", "STATUS": "Show the current state of service access."}
    return {
        "SSHACCESS": "Allow support to log in, without a tunnel.",
        "TUNNEL": "Allow support to log in, through a tunnel to the support organisation.",
        "STATUS": "Show the current state of service access.",
    }


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    """Show the state, offer what fits it, and again until the operator leaves."""
    while True:
        document = await dialogue.perform("techsupport status", {})
        if document is None:
            return None
        chosen = await dialogue.menu(_operations(_enabled(document)))
        if not chosen:
            return None
        if chosen == "TUNNEL":
            await _tunnel(dialogue, _ports(call))
        elif chosen == "SSHACCESS":
            await _sshaccess(dialogue)
        elif chosen == "DISABLE" and await dialogue.confirm(_SURE.format("disable")):
            await dialogue.perform("techsupport disable", {})


techsupport = Command(
    "techsupport",
    "Let support in, or end it.",
    run=None,
    dialogue=_menu,
    roles=STAFF | {Role.SUPPORT},
    machines=MAIL_MACHINES,
)

COMMANDS = (techsupport, status, tunnel, sshaccess, disable)
