"""`commit`, `clear`, `showchanges`, `commitdetail`: what becomes of the pending configuration (behaviour 1.3)."""

from typing import Annotated

from core.errors import EX_NOINPUT, EX_UNAVAILABLE, GatepostError
from ops.cli.account import INSPECTORS, STAFF
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import moment
from ops.cli.registry import Call, Command, Document, command
from ops.configuration.commit import Committer, Done, Wish
from ops.configuration.confirm import LONGEST_MINUTES
from ops.configuration.handover import Answer
from ops.configuration.show import changes, tree
from ops.configuration.version import Version

_LONGEST_COMMENT = 500
_NOTHING = "There are no changes to commit."


def committer_of(call: Call) -> Committer:
    """Give the machine's way to commit. Raises `GatepostError` where there can be none."""
    return call.appliance.committer()


def described(version: Version) -> Document:
    """Give the facts of a version as a document."""
    return {
        "number": version.number,
        "at": version.at,
        "user": version.user,
        "source": version.source,
        "comment": version.comment,
        "sections": list(version.sections),
        "saved": version.saved,
    }


def _told(one: Answer) -> Document:
    return {"daemon": one.daemon, "state": one.state, "restart": list(one.restart), "reasons": list(one.reasons)}


def committed(done: Done | None) -> Document:
    """Give what a commit came to as a document."""
    if done is None:
        return {"committed": False, "confirmed": False}
    return {
        "committed": bool(done.daemons),
        "confirmed": done.confirmed,
        "version": described(done.version),
        "daemons": [_told(one) for one in done.daemons],
        "merged_with": list(done.merged_with),
        "until_at": done.until_at,
    }


def render_commit(document: Document, width: int) -> str:
    """Say when it was committed, and what the operator must know besides."""
    if not document["committed"]:
        number = document.get("version", {}).get("number")
        return f"Version {number} of the configuration is confirmed." if document["confirmed"] else _NOTHING
    lines = [f"Changes committed: {moment(document['version']['at'])}"]
    if document["merged_with"]:
        lines.append(f"Kept what others committed since you began: {', '.join(document['merged_with'])}")
    daemons = document["daemons"]
    restart = [f"{one['daemon']}: {', '.join(one['restart'])}" for one in daemons if one["restart"]]
    lines += [f"Counts only after a restart of {line}" for line in restart]
    for state, text in (
        ("absent", "Not running, takes it when it starts"),
        ("apart", "Runs as another user, takes it when it is restarted"),
    ):
        if names := [one["daemon"] for one in daemons if one["state"] == state]:
            lines.append(f"{text}: {', '.join(names)}")
    for one in daemons:
        if one["state"] == "late":
            reasons = "; ".join(one["reasons"])
            lines.append(f"{one['daemon']} does not go by it yet ({reasons}); it does within a minute, or restarted")
    if document["until_at"]:
        lines.append(f"Goes back by itself at {moment(document['until_at'])}; `commit` before that keeps it.")
    return "\n".join(lines)


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    if not call.editing.pending:
        return {}
    comment = await dialogue.ask("\nPlease enter some comments describing your changes:", below=True)
    dialogue.say()
    save = await dialogue.confirm("Do you want to save the current configuration for rollback?", default=True)
    return {"comment": [comment] if comment else None, "no_save": not save}


def _wish(call: Call, comment: list[str] | None, *, save: bool, confirm_s: float | None = None) -> Wish:
    text = " ".join(comment or ())[:_LONGEST_COMMENT]
    return Wish(call.caller.name, call.caller.source, text, save, confirm_s)


@command("commit", "Put the pending configuration in force.", render=render_commit, dialogue=_ask, roles=STAFF)
async def commit(
    call: Call,
    comment: Annotated[list[str] | None, Help("what the changes are for", "COMMENT")] = None,
    *,
    no_save: Annotated[bool, Help("do not offer this version to `rollbackconfig`")] = False,
) -> Document:
    """All of it, at every daemon, or nothing. Also keeps a version that `commit confirmed` put in force."""
    wish = _wish(call, comment, save=not no_save)
    return committed(await committer_of(call).commit(call.editing.login, wish))


@command("commit confirmed", "Put the pending configuration in force for a trial.", render=render_commit, roles=STAFF)
async def commit_confirmed(
    call: Call,
    minutes: Annotated[
        int, Help("after so many minutes the old one is back", "MINUTES", least=1, most=LONGEST_MINUTES)
    ],
    comment: Annotated[list[str] | None, Help("what the changes are for", "COMMENT")] = None,
) -> Document:
    """Unless `commit` confirms it in time, the console goes back to what was in force before, over a restart too."""
    try:
        await call.appliance.ask("console", "health")
    except GatepostError as error:
        if error.status != EX_UNAVAILABLE:
            raise
        text = "`commit confirmed` needs the console, which goes back by itself, and it is not running"
        raise GatepostError(f"{text}; start it with `gatepost run console --config FILE`", EX_UNAVAILABLE) from None
    wish = _wish(call, comment, save=True, confirm_s=60.0 * minutes)
    return committed(await committer_of(call).commit(call.editing.login, wish))


def render_clear(document: Document, width: int) -> str:
    """Say whether there was anything to drop."""
    return "Changes cleared." if document["cleared"] else "There are no changes to clear."


async def _ask_clear(call: Call, dialogue: Dialogue) -> Document | None:
    if not call.editing.pending:
        return {}
    sure = await dialogue.confirm("Are you sure you want to clear all changes since the last commit?", default=True)
    return {} if sure else None


def _clearing(name: str) -> Command:
    @command(name, "Drop the pending changes.", render=render_clear, dialogue=_ask_clear, roles=STAFF)
    async def clear(call: Call) -> Document:
        """Only those of the caller's own login."""
        return {"cleared": await call.editing.clear()}

    return clear


def render_changes(document: Document, width: int) -> str:
    """Draw the tree of changes."""
    if not document["changes"]:
        return "There are no uncommitted changes."
    lines = tree(document["changes"])
    if document["others"]:
        lines += ["", f"Committed by others since you began: {', '.join(document['others'])}"]
    return "\n".join([*lines, "", *(f"{moment(one['at'])}  {one['what']}" for one in document["made"])])


@command("showchanges", "Show the pending changes.", render=render_changes, roles=INSPECTORS)
async def showchanges(call: Call) -> Document:
    """As a tree: `+` is new, `-` is gone, `~` has another value. Secrets are masked."""
    editing = call.editing
    before, after, others = await editing.compared()
    made = [{"what": one.what, "at": one.at} for one in editing.changes]
    return {"changes": changes(before, after), "made": made, "others": others}


def render_detail(document: Document, width: int) -> str:
    """Show when, who, why and what."""
    version = document["version"]
    comment = f' with comments: "{version["comment"]}"' if version["comment"] else ""
    source = f" from {version['source']}" if version["source"] else ""
    lines = [f"Version {version['number']} committed at {moment(version['at'])} by {version['user']}{source}{comment}."]
    return "\n".join([*lines, *(["", *tree(document["changes"])] if document["changes"] else [])])


@command("commitdetail", "Show the last commit.", render=render_detail, roles=INSPECTORS)
async def commitdetail(
    call: Call, number: Annotated[int | None, Help("another version than the newest", "VERSION")] = None
) -> Document:
    """When, by whom, why, and what it changed. Secrets are masked."""
    versions = committer_of(call).versions
    found = versions.all()
    if not found:
        raise GatepostError("nothing has been committed yet", EX_NOINPUT)
    wanted = found[0].number if number is None else number
    version = next((one for one in found if one.number == wanted), None)
    if version is None:
        raise GatepostError(f"there is no version {wanted}; `rollbackconfig list` lists them", EX_NOINPUT)
    before = next((one for one in found if one.number < wanted), None)
    after = versions.tables(wanted)
    earlier = versions.tables(before.number) if before else after
    return {"version": described(version), "changes": changes(earlier, after), "made": list(version.changes)}


COMMANDS = (commit, commit_confirmed, _clearing("clear"), _clearing("clearchanges"), showchanges, commitdetail)
