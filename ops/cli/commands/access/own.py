"""`passwd` and `totp`: a user's own password and one-time codes.

They act at once: a commit of just this change, apart from what the user has pending and written down as a version like
any other. The old password is asked for, and checked by the gate, which counts failures. Raises `GatepostError`.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

from core import clock
from core.errors import EX_NOINPUT, EX_NOPERM, GatepostError
from ops.access.gate import Gate, Verdict, terms_of
from ops.access.store import Attempt
from ops.cli.account import USERS, Account, Caller
from ops.cli.argument import Help
from ops.cli.commands.access.table import (
    User,
    enrol,
    find,
    guarded,
    hashed,
    login_rules,
    needs_codes,
    needs_password,
    new_codes,
    password_given,
    ways_of,
    without_codes,
)
from ops.cli.commands.access.user import Secret, shown_once
from ops.cli.commands.access.user_menu import new_password
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command
from ops.configuration.commit import Wish
from ops.configuration.place import Tables


async def at_once(call: Call, what: str, edit: Callable[[Tables], None]) -> Document:
    """Commit one change, whatever the caller has pending. Raises what a commit raises; nothing is pending then."""
    login = f"{call.caller.name} at once"
    editing = call.appliance.editing(login)
    await editing.clear()
    try:
        await editing.change(what, guarded(edit))
        wish = Wish(call.caller.name, call.caller.source, what, save=False)
        done = await call.appliance.committer().commit(login, wish)
    finally:
        await editing.clear()
    return {"changed": what, "version": done.version.number if done is not None else None}


def _own_row(call: Call) -> User:
    if call.caller.service or call.caller.source == "local":
        why = "support and the machine's own command line have no user"
        raise GatepostError(f"{why}; an administrator: userconfig password NAME", EX_NOPERM)
    return find(call.editing.in_force(), call.caller.name)


async def _check_old(call: Call, row: User, typed: str) -> None:
    """Check the old password. Raises status 77."""
    if call.appliance.records is None:
        raise GatepostError("this machine keeps no record of log-ins: nobody could count failures", EX_NOINPUT)
    caller: Caller = call.caller
    account = Account(caller.name, caller.role, (), password=str(row.get("password", "")))
    gate = Gate(call.appliance.records, call.appliance.note, terms=terms_of(login_rules(call)))
    attempt = Attempt(caller.name, caller.source, "cli", clock.now())
    if await gate.password(account, attempt, typed) is not Verdict.GOOD:
        raise GatepostError("that is not your password; nothing was changed", EX_NOPERM)


def render_password(document: Document, width: int) -> str:
    """Say that it counts from now on."""
    return "Your password was changed; it counts from now on."


async def _ask_password(call: Call, dialogue: Dialogue) -> Document | None:
    row = _own_row(call)
    old = await dialogue.secret("Old password") if row.get("password") else "-"
    new = await new_password(dialogue) if old else ""
    if not new:
        dialogue.say("Nothing was changed.")
        return None
    return {"password": f"{old}\n{new}"}


@command("passwd", "Change your own password.", render=render_password, dialogue=_ask_password, roles=USERS)
async def passwd(call: Call, password: Secret = "") -> Document:
    """The old and the new password are two lines of standard input.

    It counts at once, without `commit`: a commit of just this change. Who logs in by key and has no password gives
    any first line.
    """
    row = _own_row(call)
    if not row.get("password") and not needs_password(ways_of(row)):
        why = "you log in by key; an administrator gives you a password with userconfig password"
        raise GatepostError(why, EX_NOPERM)
    old, new = await password_given(call, password, lines=2)
    await _check_old(call, row, old)
    if old == new:
        raise GatepostError("the new password is the old one", EX_NOPERM)
    stored = await asyncio.to_thread(hashed, call, call.caller.name, new)

    def edit(tables: Tables) -> None:
        found = find(tables, call.caller.name)
        found.update({"password": stored, "password_at": round(clock.now())})
        found.pop("must_change", None)

    document = await at_once(call, f"{call.caller.name} changed the own password", edit)
    call.caller.grant.must_change = False
    return document


def render_totp(document: Document, width: int) -> str:
    """Show what is shown once."""
    return "\n".join(["It counts from now on.", *shown_once(document)])


@command("totp", "Make, renew or remove your own one-time codes.", render=render_totp, roles=USERS)
async def totp(
    call: Call,
    act: Annotated[Literal["new", "codes", "delete"], Help("a new secret; new recovery codes only; none any more")],
) -> Document:
    """Secret and recovery codes are shown once and count at once.

    Your password is the one line of standard input, where you have one. That codes are asked for is said by
    `userconfig edit --login`, and so is that they are not any more.
    """
    row = _own_row(call)
    if row.get("password"):
        (typed,) = await password_given(call, "")
        await _check_old(call, row, typed)
    if act == "delete" and needs_codes(ways_of(row)):
        raise GatepostError("your log-in needs codes; an administrator: userconfig totp delete NAME", EX_NOPERM)
    if act != "new" and not row.get("totp_secret"):
        raise GatepostError("you have no one-time secret; totp new", EX_NOINPUT)
    shown: Document = {}

    def edit(tables: Tables) -> None:
        found = find(tables, call.caller.name)
        shown.clear()
        if act == "delete":
            without_codes(found)
        else:
            shown.update(new_codes(found) if act == "codes" else enrol(found, call.appliance.hostname))

    document = await at_once(call, f"{call.caller.name} changed the own one-time codes", edit)
    return {**document, **shown}


COMMANDS = (passwd, totp)
