"""`showrecipients`: recipients that wait in the delivery queue, by host, by sender, or all."""

from typing import Annotated

from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import number
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table

_SELECTORS = ("By recipient host", "By Envelope From address", "All")


def render(document: Document, width: int) -> str:
    """Show each message once, with a line per recipient under it."""
    heads = [
        Column("MID/\n[RID]"),
        Column("Bytes/\n[Atmps]", right=True),
        Column("Sender/\nRecipient", least=20),
        Column("Subject/\nLast reply", least=12),
    ]
    rows: list[list[str]] = []
    shown = None
    for item in document["recipients"]:
        if item["mid"] != shown:
            shown = item["mid"]
            rows.append([str(shown), number(item.get("size")), item.get("sender") or "<>", item.get("subject") or ""])
        attempts = f"[{item.get('attempts', 0)}]"
        rows.append([f"[{item['rid']}]", attempts, str(item["recipient"]), str(item.get("last_reply") or "")])
    if not rows:
        return "No recipients are waiting for delivery."
    more = "\n\nThere are more; narrow the choice with --host or --sender, or raise --limit."
    notice = more if document.get("truncated") else ""
    return table(heads, rows, width) + notice


async def _ask_selector(call: Call, dialogue: Dialogue) -> Document | None:
    chosen = await dialogue.choose("Please select how you would like to show messages:", _SELECTORS)
    if chosen == 2:
        return {}
    question = "Recipient host:" if chosen == 0 else "Envelope From address:"
    value = await dialogue.ask(question)
    return {"host" if chosen == 0 else "sender": value} if value else None


@command(
    "showrecipients",
    "List recipients that wait for delivery.",
    render=render,
    dialogue=_ask_selector,
    machines=MAIL_MACHINES,
)
async def showrecipients(
    call: Call,
    *,
    host: Annotated[str, Help("only this recipient domain", "DOMAIN")] = "",
    sender: Annotated[str, Help("only this sender: ADDRESS, USER@ or @DOMAIN", "ADDRESS")] = "",
    limit: Annotated[int | None, Help("most recipients to list", "N", least=1, most=100000)] = None,
) -> Document:
    """Messages in the work queue or in quarantine are not among them."""
    document: Document = await call.appliance.ask(
        "delivery-queue", "showrecipients", host=host.lower() or None, sender=sender or None, limit=limit
    )
    return document


COMMANDS = (showrecipients,)
