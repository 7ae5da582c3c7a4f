"""`grep`: lines of a log that an expression fits, over its saved files too."""

from typing import Annotated

from core.errors import EX_DATAERR, EX_USAGE, GatepostError
from core.log.event import LONGEST_LINE
from core.log.reading import files_of
from core.log.search import Search
from core.regex import RegexError
from ops.cli.argument import Help
from ops.cli.commands.log.choice import ask_for_log, chosen, off_loop
from ops.cli.commands.log.following import follow, waited
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command

MOST_LINES = 100_000
MOST_OCTETS = 32 << 20
DOCUMENT_LINES = 10_000
"""Lines of a document unless more are asked for."""


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    log = await ask_for_log(call, dialogue, "Enter the number of the log you wish to grep.")
    if not log:
        return None
    regex = await dialogue.ask("Enter the regular expression to grep.")
    given: Document = {"regex": regex, "log": log}
    given["insensitive"] = await dialogue.confirm("Do you want this search to be case insensitive?", default=True)
    given["inverted"] = await dialogue.confirm("Do you want to search for non-matching lines?")
    given["tail"] = await dialogue.confirm("Do you want to tail the logs?")
    given["paginate"] = not given["tail"] and await dialogue.confirm("Do you want to paginate the output?")
    return given


def _search(call: Call, given: Document) -> Search:
    one = chosen(call, given["log"])
    try:
        return Search(
            given["regex"],
            files_of(one.path),
            insensitive=given.get("insensitive", False),
            inverted=given.get("inverted", False),
            context=given.get("context", 0),
        )
    except RegexError as error:
        raise GatepostError(f"the expression, character {error.offset + 1}: {error.reason}", EX_DATAERR) from None


def _render(document: Document, width: int) -> str:
    lines = list(document["lines"])
    if document["truncated"]:
        lines.append(f"There are more lines; {document['shown']:,} are shown. --limit or another expression helps.")
    return "\n".join(lines)


@command("grep", "Search a log for a regular expression.", render=_render, dialogue=_ask)
async def grep(
    call: Call,
    regex: Annotated[str, Help("regular expression (RE2); left out with -e", "REGEX")] = "",
    log: Annotated[str, Help("name of the log", "LOG")] = "",
    *,
    expression: Annotated[str, Help("the expression, where it begins with a dash", "REGEX", short="e")] = "",
    context: Annotated[int, Help("lines to show around each", "N", least=0, most=1000, short="C")] = 0,
    insensitive: Annotated[bool, Help("capital and small letters are the same", short="i")] = False,
    inverted: Annotated[bool, Help("lines that do not match", short="v")] = False,
    paginate: Annotated[bool, Help("page by page on a terminal, when all is found", short="p")] = False,
    tail: Annotated[bool, Help("show what comes, until Ctrl-C", short="t")] = False,
    limit: Annotated[int, Help("most lines", "N", least=1, most=MOST_LINES)] = 0,
) -> Document:
    """Looks through the saved files, oldest first, then the one being written. In linear time whatever the expression.

    A guest reads neither debug logs nor the CLI audit log.
    """
    if expression and log:
        raise GatepostError("give one expression: -e or the first word", EX_USAGE)
    regex, log = (expression, regex) if expression else (regex, log)
    if not regex or not log:
        raise GatepostError("an expression and a log are needed: grep REGEX LOG", EX_USAGE)
    given = {"regex": regex, "log": log, "insensitive": insensitive, "inverted": inverted, "context": context}
    search = _search(call, given)
    if tail:
        return await follow(call, chosen(call, log), search.fits)
    at_once = call.watched and not paginate  # what is shown in the end is paged by the session
    most = limit or (MOST_LINES if call.watched else DOCUMENT_LINES)
    shown: list[str] = []
    count = octets = 0
    while not search.ended and count <= most and octets <= MOST_OCTETS:
        found = [line[:LONGEST_LINE].decode("utf-8", "replace") for line in await off_loop(search.step)]
        call.progress(search.done, search.total, f"{count:,} lines found")
        for line in found[: max(0, most - count)]:
            (call.show if at_once else shown.append)(line)
            octets += len(line)
        count += len(found)
        await waited(call)
    call.progress(-1, 0, "")
    more = count > most or not search.ended
    return {"log": log, "lines": shown, "shown": min(count, most), "truncated": more}


COMMANDS = (grep,)
