"""`showrecipients`: recipients that wait in the delivery queue, by host, by sender, or all."""

from typing import Annotated

from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.commands.operation import QUEUE, Filter, Host, Mids, Sender, ask_selector, selector_of
from ops.cli.dialogue import Dialogue
from ops.cli.display import number, reason
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table


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
        reply = f"damaged: {item['damaged']}" if item.get("damaged") else reason(item.get("last_reply"))
        rows.append([f"[{item['rid']}]", attempts, str(item["recipient"]), reply])
    if not rows:
        host = document.get("host")
        return f"No recipients are waiting for delivery{f' to {host}' if host else ''}."
    after = document.get("next")
    more = f"\n\nThere are more; go on with --after {after}, or narrow the choice." if after else ""
    return table(heads, rows, width) + more


_PAGE = 40


async def _ask_selector(call: Call, dialogue: Dialogue) -> Document | None:
    asked = await ask_selector(dialogue, "show")
    if asked is None:
        return None
    wanted = {key: value for key, value in asked[0].items() if key != "all_"} | {"limit": _PAGE}
    while True:
        document = await dialogue.perform("showrecipients", wanted)
        if document is None and not wanted.get("after"):
            return await _ask_selector(call, dialogue)  # the screen says what was wrong
        after = (document or {}).get("next")
        if not after or not await dialogue.confirm("Show the next page?", default=True):
            return None
        wanted = {**wanted, "after": str(after)}


_LIMIT = 10_000


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
    host: Host = "",
    sender: Sender = "",
    mid: Mids = "",
    filter_: Filter = "",
    limit: Annotated[int, Help("most recipients to list", "N", least=1, most=1_000_000)] = _LIMIT,
    after: Annotated[str, Help("go on behind this place of the list", "PLACE")] = "",
) -> Document:
    """Oldest message first. Messages in the work queue or in quarantine are not among them. `next` of the document
    goes into `--after` for what follows. What is given must all hold for a recipient. Guests may not ask about
    content."""
    selector = selector_of(host, sender, mid, filter_)
    if call.caller.role not in INSPECTORS:
        selector["content"] = False  # who may not see a message may not ask what it says either
    found: list[Document] = []
    place: str | None = after or None
    try:
        while len(found) < limit:
            document: Document = await call.appliance.ask(
                QUEUE, "showrecipients", **selector, limit=min(limit - len(found), _LIMIT), after=place
            )
            found += document["recipients"]
            place = document.get("next")
            if not place:
                break
            call.progress(len(found), 0, f"{len(found)} found")
    finally:
        call.progress(-1, 0, "")
    chosen = {"host": selector["host"]} if host else {}
    return {"recipients": found, "next": place, **chosen}


COMMANDS = (showrecipients,)
