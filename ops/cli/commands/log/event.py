"""`findevent`: everything that became of a message, from an address, a subject or a MID."""

from typing import Annotated, Any, Literal

from core.errors import EX_DATAERR, EX_NOINPUT, EX_USAGE, GatepostError
from core.log.event import Finder, Kind
from core.log.reading import files_of
from core.log.subscription import MAIL
from core.regex import RegexError
from ops.cli.argument import Help
from ops.cli.commands.log.choice import ask_for_log, chosen, off_loop, readable
from ops.cli.dialogue import Dialogue
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

_WAYS: tuple[tuple[Kind, str], ...] = (
    ("from", "Search by envelope FROM"),
    ("mid", "Search by Message ID"),
    ("subject", "Search by Subject"),
    ("to", "Search by envelope TO"),
)
_MOST_CHOICES = 100
_USUAL = "mail_logs"


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    number = await dialogue.choose(
        "Please choose which type of search you want to perform:", [text for _, text in _WAYS]
    )
    kind = _WAYS[number][0]
    what = "the Message ID (MID)" if kind == "mid" else "the regular expression"
    text = await dialogue.ask(f"Enter {what} to search for.")
    if not text:
        return None
    given: Document = {"kind": kind, "text": text}
    if kind != "mid":
        insensitive = await dialogue.confirm("Do you want this search to be case insensitive?", default=True)
        given["sensitive"] = not insensitive
    given["log"] = await ask_for_log(
        call, dialogue, "Enter the number of the log you wish to use for message tracking.", _usual(call)
    )
    place = await dialogue.choose(
        "Please choose which set of logs to search:", ["All available log files", "Current log file"]
    )
    given["current"] = place == 1
    return await _one_of(call, dialogue, given)


async def _one_of(call: Call, dialogue: Dialogue, given: Document) -> Document | None:
    """Let one of several messages be chosen."""
    if given["kind"] == "mid":
        return given
    finder = await _find(call, given, _MOST_CHOICES)
    mids = [event.mids[0] for event in finder.events]
    if len(mids) < 2:
        return given
    if finder.matched > len(mids):
        dialogue.say(f"{finder.matched:,} messages were found; these are the first {len(mids)}.")
    names = [f"MID {event.mids[0]} {_subject(event.lines)}".rstrip() for event in finder.events]
    question = "The following matching message IDs were found. Please choose one to show additional log information:"
    chosen_mid = mids[await dialogue.choose(question, names)]
    return given | {"kind": "mid", "text": str(chosen_mid)}


def _subject(lines: list[str]) -> str:
    return next((line.partition(" Subject ")[2] for line in lines if " Subject " in line), "")


def _usual(call: Call) -> str:
    names = [one.name for one in readable(call) if one.type == MAIL]
    return _USUAL if _USUAL in names or not names else names[0]


async def _find(call: Call, given: Document, most: int) -> Finder:
    one = chosen(call, given.get("log") or _usual(call))
    files = await off_loop(lambda: files_of(one.path, saved=not given.get("current")))
    try:
        finder = Finder(files, given["kind"], given["text"], insensitive=not given.get("sensitive"), most=most)
    except RegexError as error:
        raise GatepostError(f"the expression, character {error.offset + 1}: {error.reason}", EX_DATAERR) from None
    except ValueError:
        raise GatepostError(f"{given['text']!r} is not a MID", EX_DATAERR) from None
    while await off_loop(finder.step):
        call.progress(finder.done, finder.total, f"{finder.matched:,} messages found")
    call.progress(-1, 0, "")
    return finder


def _render(document: Document, width: int) -> str:
    parts = ["\n".join(event["lines"]) for event in document["events"]]
    if document["truncated"]:
        parts.append(f"{document['matched']:,} messages fit, {len(parts)} are shown; --limit shows more.")
    return "\n\n".join(parts)


@command(
    "findevent", "Show everything that became of a message.", render=_render, dialogue=_ask, machines=MAIL_MACHINES
)
async def findevent(
    call: Call,
    kind: Annotated[Literal["from", "mid", "subject", "to"], Help("what to search by")],
    text: Annotated[str, Help("regular expression (RE2), or a MID", "TEXT")],
    *,
    log: Annotated[str, Help("name of the mail log", "LOG")] = "",
    sensitive: Annotated[bool, Help("capital and small letters differ")] = False,
    current: Annotated[bool, Help("only the file being written")] = False,
    limit: Annotated[int, Help("most messages", "N", least=1, most=10_000)] = 100,
) -> Document:
    """By envelope sender (`from`), recipient (`to`), subject or MID. Follows messages that were rewritten, split,
    generated or bounced under other MIDs, both ways, over saved files; shows the connections, too.
    """
    if not text:
        raise GatepostError("say what to search for", EX_USAGE)
    given = {"kind": kind, "text": text, "log": log, "sensitive": sensitive, "current": current}
    finder = await _find(call, given, limit)
    events: list[dict[str, Any]] = [
        {"mid": str(one.mids[0]), "related": [str(mid) for mid in one.mids[1:]], "lines": one.lines}
        for one in finder.events
        if one.lines
    ]
    if not events:
        raise GatepostError("no message was found", EX_NOINPUT)
    return {"events": events, "matched": finder.matched, "truncated": finder.truncated}


COMMANDS = (findevent,)
