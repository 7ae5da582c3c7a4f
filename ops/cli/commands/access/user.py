"""`userconfig`: the users of the console and of the web side, in batch. The dialogue is in `user_menu`.

Changes are pending until `commit`, but for `unlock`, which acts at once. Passwords come from standard input or a
dialogue, never from a command line. A new one-time secret is shown once, and is nowhere to be read afterwards.
"""

import asyncio
from typing import Annotated, Any, Literal

from core import clock
from core.errors import EX_DATAERR, EX_NOINPUT, EX_USAGE, GatepostError
from ops.access import store
from ops.access.gate import keys_of
from ops.cli.account import ADMINISTRATORS, KEY, Role
from ops.cli.argument import Help
from ops.cli.commands.access.table import (
    User,
    enrol,
    find,
    guarded,
    hashed,
    key_facts,
    needs_codes,
    needs_password,
    new_codes,
    password_given,
    public_line,
    users,
    ways_from,
    ways_of,
    without_codes,
)
from ops.cli.commands.staged import render_staged, stage, words_of
from ops.cli.display import moment
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table
from ops.configuration.place import Tables

Name = Annotated[str, Help("user name", "NAME")]
RoleWord = Annotated[Literal["", "administrator", "operator", "guest"], Help("what the user may do")]
Ways = Annotated[str, Help("ways to log in, any is enough: key, password, key+totp, password+totp", "WAY,WAY…")]
Secret = Annotated[str, Help("the password, from the dialogue", secret=True)]
YesNo = Annotated[Literal["", "yes", "no"], Help("ask for a new password at the next log-in with one")]


def _facts(row: User, locked: dict[str, float]) -> Document:
    name = str(row.get("name", ""))
    commands = row.get("commands")
    until = max((locked.get(key, 0.0) for key in keys_of(name)), default=0.0)
    return {
        "name": name,
        "role": row.get("role", str(Role.GUEST)),
        "login": ways_of(row),
        "keys": [key_facts(str(line)) for line in row.get("keys", [])],
        "password": bool(row.get("password")),
        "password_at": row.get("password_at") or None,
        "must_change": bool(row.get("must_change")),
        "totp": bool(row.get("totp_secret")),
        "recovery_codes": len(row.get("recovery_secret", [])),
        "commands": list(commands) if commands is not None else None,
        "locked_until": until or None,
    }


def render_list(document: Document, width: int) -> str:
    """Show one user a line."""
    if not document["users"]:
        return "No users are configured."
    heads = [Column("No."), Column("Name"), Column("Role"), Column("Log-in", least=12), Column("Keys", right=True)]
    heads += [Column("Password"), Column("Codes"), Column("State", least=10)]
    rows = [
        [
            f"{place}.",
            one["name"],
            one["role"],
            ", ".join(one["login"]),
            str(len(one["keys"])),
            "set" if one["password"] else "-",
            "set" if one["totp"] else "-",
            _state(one),
        ]
        for place, one in enumerate(document["users"], 1)
    ]
    return table(heads, rows, width)


def _state(one: Document) -> str:
    parts = [f"locked until {moment(one['locked_until'])}"] if one["locked_until"] else []
    parts += ["must change the password"] if one["must_change"] else []
    parts += [f"only: {', '.join(one['commands'])}"] if one["commands"] is not None else []
    return "; ".join(parts) or "-"


@command("userconfig list", "List the users of the console.", render=render_list, roles=ADMINISTRATORS)
async def list_(call: Call) -> Document:
    """The pending configuration, with who is locked out now."""
    rows = users(call.editing.tables())
    locked = {}
    if call.appliance.records is not None:
        locked = dict(await call.appliance.records.look(store.locks, clock.now()))
    return {"users": [_facts(row, locked) for row in rows]}


def render_changed(document: Document, width: int) -> str:
    """Say what was changed; show what is shown once."""
    return "\n".join([render_staged(document, width), *shown_once(document)])


def shown_once(document: Document) -> list[str]:
    """Give the lines of a new one-time secret or of recovery codes."""
    lines = []
    if document.get("secret"):
        lines += ["", "One-time codes: the secret for the authenticator app; it is not shown again.", ""]
        lines += [f"  Secret:  {document['secret']}", f"  Address: {document['uri']}"]
    if document.get("recovery_codes"):
        lines += ["", "Recovery codes, each good once instead of a code; keep them apart from the app:", ""]
        codes = document["recovery_codes"]
        lines += [f"  {left}   {right}" for left, right in zip(codes[::2], codes[1::2], strict=False)]
    return lines


@command("userconfig new", "Create a user.", render=render_changed, roles=ADMINISTRATORS)
async def new(
    call: Call,
    name: Name,
    *,
    role: RoleWord = "guest",
    login: Ways = "",
    key: Annotated[str, Help("public key line", "LINE")] = "",
    commands: Annotated[str, Help("the only commands that the user may run, without a shell", "COMMAND,COMMAND…")] = "",
    must_change: YesNo = "",
    password: Secret = "",
) -> Document:
    """With a way that takes a password, the password is the one line of standard input.

    It is to be changed at the first log-in unless `--must-change no`.

    With a way that takes codes, the secret is made and shown once.
    """
    ways = ways_from(login or (KEY if key else "password"))
    row: User = {"name": name, "role": role or "guest", "login": ways}
    if key:
        row["keys"] = [public_line(key)]
    if commands:
        row["commands"] = words_of(commands)
    if needs_password(ways):
        (typed,) = await password_given(call, password)
        await _set_password(call, row, typed)
        if must_change != "no":
            row["must_change"] = True
    shown = enrol(row, call.appliance.hostname) if needs_codes(ways) else {}

    def edit(tables: Tables) -> None:
        if any(one.get("name") == name for one in users(tables)):
            raise GatepostError(f"there is a user {name!r} already; userconfig edit {name}", EX_DATAERR)
        tables["user"] = [*users(tables), row]

    return await stage(call, f"user {name} created", edit, user=_facts(row, {}), **shown)


@command(
    "userconfig edit", "Change a user's role, ways to log in and commands.", render=render_changed, roles=ADMINISTRATORS
)
async def edit_(
    call: Call,
    name: Name,
    *,
    role: RoleWord = "",
    login: Ways = "",
    commands: Annotated[str, Help("the only commands, without a shell; ALL = all of the role", "COMMAND,…")] = "",
    must_change: YesNo = "",
) -> Document:
    """Keys: sshconfig userkey. A way that takes codes makes a secret, shown once, if there is none."""
    if not any((role, login, commands, must_change)):
        raise GatepostError("userconfig edit: give --role, --login, --commands or --must-change", EX_USAGE)
    ways = ways_from(login) if login else []
    shown: Document = {}

    def edit(tables: Tables) -> None:
        row = find(tables, name)
        if role:
            row["role"] = role
        if ways:
            shown.clear()
            shown.update(_put_ways(row, ways, call.appliance.hostname))
        if commands:
            row["commands"] = words_of(commands)
        if commands.upper() == "ALL":
            del row["commands"]
        if must_change:
            _put_must_change(row, must_change == "yes")

    document = await stage(call, f"user {name} changed", guarded(edit))
    return {**document, **shown}


def _put_ways(row: User, ways: list[str], hostname: str) -> Document:
    """Let a user log in so; gives what is to be shown, once, where that takes a new one-time secret."""
    row["login"] = ways
    if needs_password(ways) and not row.get("password"):
        name = row["name"]
        raise GatepostError(f"{name} has no password; userconfig password {name} first", EX_DATAERR)
    return enrol(row, hostname) if needs_codes(ways) and not row.get("totp_secret") else {}


def _put_must_change(row: User, wanted: bool) -> None:
    row.pop("must_change", None)
    if wanted:
        row["must_change"] = True


@command("userconfig delete", "Remove a user.", render=render_changed, roles=ADMINISTRATORS)
async def delete(call: Call, name: Name) -> Document:
    """The last administrator who can log in stays. Sessions of the user end with the commit."""

    def edit(tables: Tables) -> None:
        gone = find(tables, name)
        tables["user"] = [row for row in users(tables) if row is not gone]

    return await stage(call, f"user {name} removed", guarded(edit))


@command("userconfig password", "Set a user's password.", render=render_changed, roles=ADMINISTRATORS)
async def password_(call: Call, name: Name, *, must_change: YesNo = "yes", password: Secret = "") -> Document:
    """The new password is the one line of standard input.

    It has to be changed at the next log-in unless `--must-change no`.
    """
    find(call.editing.tables(), name)
    (typed,) = await password_given(call, password)
    made: User = {"name": name}
    await _set_password(call, made, typed)

    def edit(tables: Tables) -> None:
        row = find(tables, name)
        row.update(made)
        _put_must_change(row, must_change != "no")

    document = await stage(call, f"password of user {name} set", edit)
    ways = ways_of(find(call.editing.tables(), name))
    if not needs_password(ways):
        hint = f"{name} logs in with {', '.join(ways)}: the password counts on the web side only (userconfig edit)"
        document["notes"] = [hint]
    return document


async def _set_password(call: Call, row: User, typed: str) -> None:
    row["password"] = await asyncio.to_thread(hashed, call, str(row["name"]), typed)
    row["password_at"] = round(clock.now())


@command(
    "userconfig totp", "Make, renew or remove a user's one-time codes.", render=render_changed, roles=ADMINISTRATORS
)
async def totp_(
    call: Call,
    act: Annotated[Literal["new", "codes", "delete"], Help("a new secret; new recovery codes only; none any more")],
    name: Name,
) -> Document:
    """Secret and recovery codes are shown once. `delete` also takes the ways away that need codes."""
    shown: dict[str, Any] = {}

    def edit(tables: Tables) -> None:
        row = find(tables, name)
        shown.clear()
        if act == "delete":
            without_codes(row)
        elif act == "codes" and not row.get("totp_secret"):
            raise GatepostError(f"{name} has no one-time secret; userconfig totp new {name}", EX_NOINPUT)
        else:
            shown.update(new_codes(row) if act == "codes" else enrol(row, call.appliance.hostname))

    what = {"new": "renewed", "codes": "recovery codes renewed", "delete": "removed"}[act]
    document = await stage(call, f"one-time codes of user {name}: {what}", guarded(edit))
    return {**document, **shown}


def render_unlocked(document: Document, width: int) -> str:
    """Say who may try again."""
    if not document["unlocked"]:
        return f"{document['name']} was not locked out."
    return f"{document['name']} may log in again."


@command(
    "userconfig unlock",
    "Let a user or an address log in again that is locked out.",
    render=render_unlocked,
    roles=ADMINISTRATORS,
)
async def unlock(call: Call, name: Annotated[str, Help("user name or IP address", "NAME|ADDRESS")]) -> Document:
    """Acts at once, without a commit."""
    if call.appliance.records is None:
        raise GatepostError("this machine keeps no record of log-ins", EX_NOINPUT)
    found = await call.appliance.records.change(store.unlock, keys_of(name))
    return {"name": name, "unlocked": found}


COMMANDS = (list_, new, edit_, delete, password_, totp_, unlock)
