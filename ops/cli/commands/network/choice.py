"""The question that most network tools begin with: from which interface?"""

from typing import Annotated

from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call
from ops.network.place import AUTO, places, source_of

Source = Annotated[str, Help("interface, listener or address of this machine to start from", "INTERFACE")]


async def ask_source(call: Call, dialogue: Dialogue, question: str) -> str:
    """Let one of the configured addresses be chosen; '' leaves it to the system."""
    known = places(call.appliance.configuration())
    chosen = await dialogue.choose(question, [AUTO, *(str(place) for place in known)])
    return known[chosen - 1].address if chosen else ""


def source(call: Call, text: str) -> str:
    """Give the address that an option names. Raises status 66."""
    return source_of(text, places(call.appliance.configuration()))
