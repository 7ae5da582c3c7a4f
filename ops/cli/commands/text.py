"""`textconfig`: texts with a name, for reports and for headings and footers (docs/texts.md), edited as all tables are.

In the dialogue the body is typed or pasted and ended by a full stop alone; in one line it is `--text`, or `--file`
names a file in the machine's folder.
"""

from ops.cli.editing import Rights, Table
from ops.cli.editing.asking import Asking
from ops.formats.ini import Sections

_KINDS = {
    "bounce": "Bounce: the report of mail that could not be delivered",
    "delay": "Delay: the warning of mail that waits",
    "success": "Success: the report of mail that was delivered, to who asked for it",
    "disclaimer": "Disclaimer: a heading or a footer",
}
_BODY = "Enter or paste the text; end with . on a line of its own."


async def _ask(asking: Asking) -> None:
    kind = await asking.key("kind", "What is the text for?", _KINDS)
    await asking.key("name", "Enter the name of the text")
    if kind != "disclaimer":
        await asking.key("subject", "Enter the subject of the report (empty = the usual one)")
    if asking.new or await asking.yes(f"Replace the text? It has {len(str(asking.value('text') or ''))} characters"):
        body = await asking.dialogue.text(_BODY)
        asking.set("file", None)
        asking.set("text", body.rstrip("\n"))


TEXTS = Table(
    command="textconfig",
    path=("text",),
    key="name",
    one="text",
    many="texts",
    summary="Texts of reports, headings and footers.",
    format=Sections("Texts: kind is bounce, delay, success or disclaimer", "name"),
    columns=(("name", "Name"), ("kind", "Kind"), ("subject", "Subject")),
    questions=_ask,
    rights=Rights(machines=frozenset({"esa", "sma"})),
)

EDITED = (TEXTS,)
