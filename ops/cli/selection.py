"""One of several names, chosen by itself or by its number in the list that was shown: the same in every dialogue."""

from collections.abc import Callable, Sequence

from ops.cli.dialogue import Dialogue, is_number


def number_in(answer: str, most: int) -> int:
    """Give the number from 1 to `most` that an answer is; 0 for anything else."""
    return int(answer) if is_number(answer, most, least=1) else 0


def meant(answer: str, names: Sequence[str]) -> str:
    """Give the name that an answer means, in any case and with or without a full stop behind it; '' for none."""
    known = {name.rstrip(".").lower(): name for name in names}
    if answer.rstrip(".").lower() in known:
        return known[answer.rstrip(".").lower()]
    place = number_in(answer, len(names))
    return names[place - 1] if place else ""


async def pick(
    dialogue: Dialogue,
    question: str,
    names: Sequence[str],
    *,
    default: str = "",
    below: bool = False,
    missing: Callable[[str], str] | None = None,
) -> str:
    """Ask until a name is chosen; '' on empty input. `missing` words what to say to an answer that is none."""
    while True:
        answer = await dialogue.ask(question, default, below=below)
        found = meant(answer, names)
        if found or not answer:
            return found
        dialogue.say(missing(answer) if missing else f"There is no {answer}; give a name or a number of the list.")


async def pick_listed(dialogue: Dialogue, question: str, names: Sequence[str]) -> str:
    """Show names with their numbers, and ask for one of them."""
    for place, name in enumerate(names, 1):
        dialogue.say(f"{place}. {name}")
    return await pick(dialogue, question, names)
