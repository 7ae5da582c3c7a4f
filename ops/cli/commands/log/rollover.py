"""`rollovernow`: new files for one log or all of them."""

from typing import Annotated

from ops.cli.account import STAFF
from ops.cli.argument import Help
from ops.cli.commands.log.choice import ask_for_log, chosen, logs_of, off_loop
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command

ALL = "all"


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    if await dialogue.confirm("Roll over all logs?"):
        return {"log": ALL}
    log = await ask_for_log(call, dialogue, "Enter the number of the log you wish to roll over.")
    return {"log": log} if log else None


def _render(document: Document, width: int) -> str:
    rows = [f"{row['log']} successfully rolled over: {row['file']}" for row in document["rolled"]]
    rows += [f"{name}: nothing was written since its file was begun" for name in document["empty"]]
    return "\n".join(rows)


@command("rollovernow", "Begin a new file of one log or of all.", render=_render, dialogue=_ask, roles=STAFF)
async def rollovernow(call: Call, log: Annotated[str, Help("name of the log, or `all`", "LOG")] = ALL) -> Document:
    """The daemons go on in the new files by themselves. Saved files are pushed where that is set up."""
    logs = logs_of(call)
    wanted = sorted(logs.all(), key=lambda one: one.name) if log.lower() == ALL else [chosen(call, log)]
    rolled, empty = [], []
    for one in wanted:
        saved = await off_loop(logs.file_of(one).save)
        if saved is None:
            empty.append(one.name)
        else:
            rolled.append({"log": one.name, "file": saved.name})
    return {"rolled": rolled, "empty": empty}


COMMANDS = (rollovernow,)
