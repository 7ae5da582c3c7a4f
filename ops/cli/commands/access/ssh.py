"""`sshconfig`: users' keys, host keys, the settings of the SSH server and of the log-in.

Changes are pending until `commit`; those of algorithms and settings count for connections that come after it.
"""

from collections.abc import Awaitable, Mapping
from typing import Annotated, Any, Literal

from core.errors import EX_DATAERR, EX_NOINPUT, EX_USAGE, GatepostError
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help
from ops.cli.commands.access.table import find, guarded, key_facts, public_line, users
from ops.cli.commands.staged import Operations, menu_of, put, render_staged, section, stage, words_of
from ops.cli.dialogue import Dialogue
from ops.cli.display import fitted, folded
from ops.cli.registry import Call, Command, Document, command
from ops.cli.selection import number_in
from ops.cli.table import Column, tall_table
from ops.config import ConsoleSection, LoginSection
from ops.configuration.place import Tables

_SERVER = (
    *("kex", "ciphers", "macs"),
    *("login_timeout_s", "idle_s", "connections", "connections_per_source", "paging", "banner"),
)
_LOGIN = ("least_length", "age_days", "failures", "lock_s", "lock_longest_s")
_LABELS = {
    "kex": "Key exchanges",
    "ciphers": "Ciphers",
    "macs": "MACs",
    "login_timeout_s": "Seconds to log in",
    "idle_s": "Seconds a session may be idle",
    "connections": "Connections",
    "connections_per_source": "Connections of one address before log-in",
    "paging": "Paging",
    "banner": "Banner before log-in",
    "least_length": "Least length of a password",
    "age_days": "Days until a password must be changed",
    "failures": "Failures before a lock",
    "lock_s": "Seconds of the first lock",
    "lock_longest_s": "Seconds of the longest lock",
}
NAMED = frozenset({"kex", "ciphers", "macs"})


def _settings(tables: Mapping[str, Any]) -> Document:
    console = ConsoleSection().model_dump(mode="json") | section(tables, "console")
    login = LoginSection().model_dump(mode="json") | section(tables, "login")
    return {"server": {key: console[key] for key in _SERVER}, "login": {key: login[key] for key in _LOGIN}}


def _host_keys(call: Call) -> list[Document]:
    from core.ssh import fingerprint  # late, as in table.py

    found = []
    for path in sorted((call.appliance.dir / "keys").glob("*host*_ed25519.pub")):
        try:
            line = path.read_text().strip()
            found.append({"name": path.name, "type": line.split()[0], "fingerprint": fingerprint(line)})
        except (OSError, ValueError, IndexError):
            found.append({"name": path.name, "type": "", "fingerprint": "(cannot be read)"})
    return found


def render_list(document: Document, width: int) -> str:
    """Show settings, host keys and how many keys each user has."""
    lines = ["SSH server:"]
    for part in ("server", "login"):
        for key, value in document[part].items():
            lines.append(folded(f"  {_LABELS[key] + ':':<44}", _shown(value), width))
    lines += ["", "Host keys:"]
    lines += [fitted(f"  {one['type']} {one['fingerprint']} ({one['name']})", width) for one in document["host_keys"]]
    counted = [f"{name}: {len(keys)}" for name, keys in document["user_keys"].items()]
    return "\n".join([*lines, "", f"User keys: {', '.join(counted) or 'none'}"])


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value).split("\n")[0] or "none"


@command(
    "sshconfig list",
    "Show the SSH server's settings, host keys and users' keys.",
    render=render_list,
    roles=ADMINISTRATORS,
)
async def list_(call: Call) -> Document:
    """The pending configuration; the host keys are those of the machine."""
    tables = call.editing.tables()
    keys = {str(row.get("name")): [key_facts(str(line)) for line in row.get("keys", [])] for row in users(tables)}
    return {**_settings(tables), "host_keys": _host_keys(call), "user_keys": keys}


def render_keys(document: Document, width: int) -> str:
    """Show one numbered key a line; where the terminal has no room, its fingerprint in a line below."""
    heads = [Column("User"), Column("No."), Column("Type"), Column("Fingerprint"), Column("Comment", least=8)]
    rows = [
        [name, f"{place}.", one["type"], one["fingerprint"], one["comment"]]
        for name, keys in document["user_keys"].items()
        for place, one in enumerate(keys, 1)
    ]
    return tall_table(heads, rows, width, 3) if rows else "There are no user keys."


@command("sshconfig userkey list", "List users' public keys.", render=render_keys, roles=ADMINISTRATORS)
async def userkey_list(call: Call, user: Annotated[str, Help("of this user only", "USER")] = "") -> Document:
    """Fingerprints as `ssh-keygen -l` shows them."""
    rows = [find(call.editing.tables(), user)] if user else users(call.editing.tables())
    return {"user_keys": {str(row["name"]): [key_facts(str(line)) for line in row.get("keys", [])] for row in rows}}


@command("sshconfig userkey new", "Add a public key to a user.", render=render_staged, roles=ADMINISTRATORS)
async def userkey_new(
    call: Call,
    user: Annotated[str, Help("user name", "USER")],
    key: Annotated[list[str] | None, Help("public key line; left out, it is read from standard input", "KEY")] = None,
) -> Document:
    """A key that the user has already is refused."""
    line = public_line(" ".join(key or []) or (await call.stdin()).decode("utf-8", "replace"))

    def edit(tables: Tables) -> None:
        row = find(tables, user)
        known = [str(one) for one in row.get("keys", [])]
        if any(_same(line, one) for one in known):
            raise GatepostError(f"{user} has this key already", EX_DATAERR)
        row["keys"] = [*known, line]

    return await stage(call, f"key {key_facts(line)['fingerprint']} added to user {user}", edit)


def _same(one: str, other: str) -> bool:
    from core.ssh import same_key

    try:
        return same_key(one, other)
    except ValueError:
        return one == other


@command("sshconfig userkey delete", "Take a public key from a user.", render=render_staged, roles=ADMINISTRATORS)
async def userkey_delete(
    call: Call,
    user: Annotated[str, Help("user name", "USER")],
    key: Annotated[str, Help("its number in the list, or its fingerprint", "NUMBER|FINGERPRINT")],
) -> Document:
    """With the commit, connections end that were made with the key."""
    shown = [one["fingerprint"] for one in map(key_facts, map(str, find(call.editing.tables(), user).get("keys", [])))]
    place = shown.index(key) if key in shown else number_in(key, len(shown)) - 1
    if place < 0:
        raise GatepostError(f"{user} has no key {key}; sshconfig userkey list {user}", EX_NOINPUT)

    def edit(tables: Tables) -> None:
        row = find(tables, user)
        row["keys"] = [line for number, line in enumerate(row["keys"]) if number != place]

    return await stage(call, f"key {shown[place]} taken from user {user}", guarded(edit))


Words = Annotated[str, Help("in their order, with commas; DEFAULT = as shipped", "NAME,NAME…")]
Seconds = Annotated[float | None, Help("seconds", "S")]
Number = Annotated[int | None, Help("how many", "N")]


@command("sshconfig sshd", "Change the settings of the SSH server.", render=render_staged, roles=ADMINISTRATORS)
async def sshd(
    call: Call,
    *,
    kex: Words = "",
    ciphers: Words = "",
    macs: Words = "",
    login_timeout_s: Seconds = None,
    idle_s: Seconds = None,
    connections: Number = None,
    connections_per_source: Number = None,
    paging: Annotated[Literal["", "yes", "no"], Help("stop after each page on a terminal")] = "",
    banner: Annotated[str | None, Help("text before the log-in; - reads it from standard input", "TEXT")] = None,
) -> Document:
    """What is not given stays. New connections go by it after the commit."""
    if banner == "-":
        banner = (await call.stdin()).decode("utf-8", "replace").rstrip("\n")
    given: dict[str, Any] = {
        "login_timeout_s": login_timeout_s,
        "idle_s": idle_s,
        "connections": connections,
        "connections_per_source": connections_per_source,
        "paging": paging == "yes" if paging else None,
        "banner": banner,
    }
    return await _staged(call, "console", "SSH server", given, {"kex": kex, "ciphers": ciphers, "macs": macs})


@command("sshconfig login", "Change the rules of passwords and lock-outs.", render=render_staged, roles=ADMINISTRATORS)
async def login(
    call: Call,
    *,
    least_length: Number = None,
    age_days: Annotated[int | None, Help("days until a password must be changed, 0 = never", "DAYS")] = None,
    failures: Annotated[int | None, Help("failures before a lock, 0 = no locks", "N")] = None,
    lock_s: Seconds = None,
    lock_longest_s: Seconds = None,
) -> Document:
    """What is not given stays."""
    given = {"least_length": least_length, "age_days": age_days, "failures": failures}
    return await _staged(call, "login", "log-in", {**given, "lock_s": lock_s, "lock_longest_s": lock_longest_s}, {})


async def _staged(call: Call, name: str, called: str, given: dict[str, Any], words: dict[str, str]) -> Document:
    changes = {key: value for key, value in given.items() if value is not None}
    lists: dict[str, Any] = {
        key: None if text.upper() == "DEFAULT" else words_of(text) for key, text in words.items() if text
    }
    if not changes and not lists:
        raise GatepostError("nothing to change was given; see help sshconfig", EX_USAGE)
    said = ", ".join(_LABELS[key].lower() for key in [*changes, *lists])
    return await stage(call, f"{called}: {said}", lambda tables: put(tables, name, **changes, **lists))


async def _ask_settings(dialogue: Dialogue, now: Document, verb: str) -> None:
    arguments: Document = {}
    for key, value in now.items():
        if key == "banner":
            continue
        shown = ",".join(value) if key in NAMED else _shown(value)
        answer = await dialogue.ask(f"{_LABELS[key]}:", shown)
        if answer != shown:
            text = key in NAMED or key == "paging"
            arguments[key] = answer if text else _number(dialogue, answer)
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if "banner" in now and await dialogue.confirm("Change the banner that is shown before the log-in?"):
        arguments["banner"] = (await dialogue.text("Enter its lines; a full stop alone ends it.")).rstrip("\n")
    if arguments:
        await dialogue.perform(f"sshconfig {verb}", arguments)


def _number(dialogue: Dialogue, text: str) -> float | int | None:
    try:
        value = float(text)
    except ValueError:
        dialogue.say(f"{text} is not a number; it stays as it was.")
        return None
    return int(value) if value.is_integer() else value


async def _ask_key(call: Call, dialogue: Dialogue) -> None:
    await dialogue.perform("sshconfig userkey list", {})
    chosen = await dialogue.menu({"NEW": "Add a key to a user.", "DELETE": "Take a key from a user."})
    if not chosen:
        return
    user = await dialogue.ask("Enter the user name.")
    if user and chosen == "NEW":
        line = await dialogue.ask("Paste the public key (TYPE BASE64 COMMENT).")
        if line:
            await dialogue.perform("sshconfig userkey new", {"user": user, "key": line.split()})
    elif user:
        key = await dialogue.ask("Enter the number of the key.")
        if key:
            await dialogue.perform("sshconfig userkey delete", {"user": user, "key": key})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    def settings(part: str, verb: str) -> Awaitable[None]:
        return _ask_settings(dialogue, _settings(call.editing.tables())[part], verb)

    operations: Operations = {
        "SSHD": ("Edit the SSH server's settings.", lambda: settings("server", "sshd")),
        "USERKEY": ("Edit users' keys.", lambda: _ask_key(call, dialogue)),
        "LOGIN": ("Edit the rules of passwords and lock-outs.", lambda: settings("login", "login")),
    }
    await menu_of(call, dialogue, "sshconfig list", operations)
    return None


sshconfig = Command(
    "sshconfig",
    "Show and change how the console is reached over SSH.",
    run=None,
    dialogue=_menu,
    roles=ADMINISTRATORS,
)

COMMANDS = (sshconfig, list_, userkey_list, userkey_new, userkey_delete, sshd, login)
