"""`resetcounters`: the Reset column of the status pages begins at zero again, in every daemon."""

from core.errors import EX_USAGE
from ops.cli.account import STAFF
from ops.cli.display import moment
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

_COUNTING = ("gateway", "cpq-listener", "delivery-queue", "release-host")


def render(document: Document, width: int) -> str:
    """Say when it was done, and who was not reached."""
    lines = [f"Counters reset: {moment(document['reset_at'])}"]
    lines += [f"Not reached: {name}: {reason}" for name, reason in document["failed"].items()]
    return "\n".join(lines)


@command("resetcounters", "Reset the counters.", render=render, roles=STAFF, machines=MAIL_MACHINES)
async def resetcounters(call: Call) -> Document:
    """Those of each destination too. The readings Uptime and Lifetime stay."""
    answers = await call.appliance.ask_each(_COUNTING, "reset_counters")
    # A daemon that counts nothing does not know the verb.
    failed = {one.daemon: one.error for one in answers if one.error is not None and one.error.status != EX_USAGE}
    reached = [one for one in answers if one.error is None]
    if failed and not reached:
        raise next(iter(failed.values()))
    reset_at = max((float(one.document["reset_at"]) for one in reached), default=call.appliance.now())
    return {"reset_at": reset_at, "failed": {name: error.text for name, error in failed.items()}}


COMMANDS = (resetcounters,)
