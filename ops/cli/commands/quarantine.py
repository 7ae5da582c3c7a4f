"""`quarantine list|show|release|delete`: the central quarantine, on the management host.

A release or deletion without `--quarantine` acts on every quarantine that holds the message. One deletion vetoes
delivery; a released message goes on only when none holds it any more.
"""

from typing import Annotated

from ops.cli.account import EVERYONE, INSPECTORS, STAFF
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import moment, octets, stamp
from ops.cli.registry import Call, Command, Document, command
from ops.cli.table import Column, table

_HOST = "release-host"
_PAGE = 20
_HERE = frozenset({"sma"})


def _holding(item: Document) -> str:
    held = item.get("quarantines") or []
    return ", ".join(
        str(one["name"]) if one.get("state", "held") == "held" else f"{one['name']} ({one['state']})" for one in held
    )


def render_list(document: Document, width: int) -> str:
    """Show one message a line."""
    if not document["messages"]:
        return "No messages."
    heads = [
        Column("ID"),
        Column("Received"),
        Column("Sender", least=12),
        Column("Recipients", least=12),
        Column("Subject", least=10),
        Column("Size", right=True),
        Column("Quarantines", least=10),
    ]
    rows = [
        [
            str(item["id"]),
            stamp(item.get("received_at")),
            item.get("sender") or "<>",
            ", ".join(str(one) for one in item.get("recipients") or []),
            str(item.get("subject") or ""),
            octets(item.get("size")),
            _holding(item),
        ]
        for item in document["messages"]
    ]
    after = document.get("next")
    more = f"\n\nMore: quarantine list --after {after}" if after else ""
    return table(heads, rows, width) + more


@command("quarantine list", "List messages in quarantine.", render=render_list, machines=_HERE)
async def list_(
    call: Call,
    *,
    quarantine: Annotated[str, Help("only this quarantine", "Q")] = "",
    sender: Annotated[str, Help("only senders with this text", "S")] = "",
    recipient: Annotated[str, Help("only recipients with this text", "R")] = "",
    subject: Annotated[str, Help("only subjects with this text", "T")] = "",
    limit: Annotated[int | None, Help("most messages of one page", "N", least=1, most=1000)] = None,
    after: Annotated[str, Help("go on after this message", "ID")] = "",
) -> Document:
    """Newest first, a page at a time; `next` of the document goes into `--after` for the next page."""
    document: Document = await call.appliance.ask(
        _HOST,
        "quarantine_list",
        quarantine=quarantine or None,
        sender=sender or None,
        recipient=recipient or None,
        subject=subject or None,
        limit=limit,
        after=after or None,
    )
    return document


def render_show(document: Document, width: int) -> str:
    """Show one message: envelope, quarantines, headers, decisions."""
    facts = [
        ("ID", document["id"]),
        ("Appliance", f"{document.get('appliance', '')} (MID {document.get('mid', '')})"),
        ("Received", moment(document.get("received_at"), "unknown")),
        ("Sender", document.get("sender") or "<>"),
        ("Recipients", ", ".join(str(one) for one in document.get("recipients") or [])),
        ("Subject", document.get("subject") or ""),
        ("Size", octets(document.get("size"))),
    ]
    lines = [f"{name + ':':<12} {value}" for name, value in facts]
    lines += ["", "Quarantines:", _quarantines(document)]
    lines += ["", "Headers:", *[f"    {one['name']}: {one['value']}" for one in document.get("headers") or []]]
    return "\n".join([*lines, "", "Decisions:", _decisions(document, width)])


def _quarantines(document: Document) -> str:
    heads = [Column("    Name"), Column("State"), Column("Expires"), Column("Reason")]
    rows = [
        [
            f"    {one['name']}",
            str(one.get("state", "")),
            moment(one.get("expires_at")),
            str(one.get("reason", "")) + (f" (matched: {one['matched']})" if one.get("matched") else ""),
        ]
        for one in document.get("quarantines") or []
    ]
    return table(heads, rows)


def _decisions(document: Document, width: int) -> str:
    heads = [Column("    Stage"), Column("Rule", least=10), Column("Verdict", least=10), Column("Input", least=10)]
    rows = [
        [f"    {one.get('stage', '')}", *(str(one.get(name, "")) for name in ("rule", "verdict", "input"))]
        for one in document.get("decisions") or []
    ]
    return table(heads, rows, width) if rows else "    none recorded"


@command(
    "quarantine show",
    "Show one message in quarantine with its headers and decisions.",
    render=render_show,
    roles=INSPECTORS,
    machines=_HERE,
)
async def show(call: Call, id_: Annotated[str, Help("id of the message", "ID")]) -> Document:
    """The body is not shown."""
    document: Document = await call.appliance.ask(_HOST, "quarantine_show", id=id_)
    return document


def _count(ids: list[str]) -> str:
    return "1 message" if len(ids) == 1 else f"{len(ids)} messages"


def render_released(document: Document, width: int) -> str:
    """Say how many were released."""
    vetoed = document.get("deleted") or []
    veto = f" Deleted from another quarantine, so never delivered: {', '.join(map(str, vetoed))}." if vetoed else ""
    return f"{_count(document['released'])} released.{veto}"


def render_deleted(document: Document, width: int) -> str:
    """Say how many were deleted."""
    return f"{_count(document['deleted'])} deleted."


@command("quarantine release", "Release messages.", render=render_released, roles=STAFF, machines=_HERE)
async def release(
    call: Call,
    ids: Annotated[list[str], Help("ids of messages", "ID")],
    *,
    quarantine: Annotated[str, Help("only out of this quarantine", "Q")] = "",
) -> Document:
    """All or none; releasing again what is already released is no error."""
    document: Document = await call.appliance.ask(_HOST, "quarantine_release", ids=ids, quarantine=quarantine or None)
    return document


@command("quarantine delete", "Delete messages.", render=render_deleted, roles=STAFF, machines=_HERE)
async def delete(
    call: Call,
    ids: Annotated[list[str], Help("ids of messages", "ID")],
    *,
    quarantine: Annotated[str, Help("only out of this quarantine", "Q")] = "",
) -> Document:
    """All or none; a deleted message is never delivered, even if another quarantine releases it."""
    document: Document = await call.appliance.ask(_HOST, "quarantine_delete", ids=ids, quarantine=quarantine or None)
    return document


async def _pages(dialogue: Dialogue) -> None:
    """Show page after page until there is no more or the operator has seen enough."""
    wanted: Document = {"limit": _PAGE, "quarantine": await dialogue.ask("Quarantine (empty for all):")}
    while True:
        document = await dialogue.perform("quarantine list", wanted)
        after = (document or {}).get("next")
        if not after or not await dialogue.confirm("Show the next page?", default=True):
            return
        wanted = {**wanted, "after": str(after)}


async def _several(dialogue: Dialogue, verb: str) -> None:
    ids = [word for word in (await dialogue.ask("Message ids, separated by commas:")).replace(",", " ").split() if word]
    if ids and await dialogue.confirm(f"Are you sure you want to {verb} {_count(ids)}?"):
        await dialogue.perform(f"quarantine {verb}", {"ids": ids})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations = {
        "LIST": "List messages, a page at a time.",
        "SHOW": "Show one message.",
        "RELEASE": "Release messages.",
        "DELETE": "Delete messages; they are never delivered.",
    }
    while True:
        chosen = await dialogue.menu(operations)
        if not chosen:
            return None
        if chosen == "LIST":
            await _pages(dialogue)
        elif chosen == "SHOW":
            await dialogue.perform("quarantine show", {"id_": await dialogue.ask("Message id:")})
        else:
            await _several(dialogue, chosen.lower())


quarantine = Command(
    "quarantine",
    "Look into the central quarantine; release and delete.",
    run=None,
    dialogue=_menu,
    roles=EVERYONE,
    machines=_HERE,
)

COMMANDS = (quarantine, list_, show, release, delete)
