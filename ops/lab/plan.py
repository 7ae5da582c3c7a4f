"""What the demonstration sends and what must become of each message: the table that the end is checked against."""

from collections import Counter
from dataclasses import dataclass

from ops.lab.corpus import messages, tagged
from ops.lab.maildir import Arrival
from ops.lab.sender import Letter

_TAG_OF = {3: "[hold]", 7: "[hold]", 5: "[virus]", 8: "[drop]", 9: "[bounce]"}
"""By the last digit of a message's number."""


@dataclass(frozen=True)
class Planned:
    """One message of the demonstration: its number, its fate's tag, and the letter."""

    number: int
    name: str
    tag: str
    letter: Letter

    @property
    def held(self) -> bool:
        """True if a filter holds it in quarantine."""
        return self.tag in ("[hold]", "[virus]")


def make_plan(count: int) -> list[Planned]:
    """Plan `count` messages. Each has recipients of its own, by which it is recognised at the end."""
    plan = []
    for number, sample in enumerate(messages(count)):
        tag = _TAG_OF.get(number % 10, "") if number >= 10 else ""
        if sample.recipients == 1:
            recipients = [f"m{number}@example.test"]
        else:
            recipients = [f"m{number}-{n}@example.test" for n in range(sample.recipients)]
        letter = Letter(f"s{number}@example.test", recipients, tagged(sample.content, tag))
        plan.append(Planned(number, sample.name, tag, letter))
    return plan


def number_of(address: str) -> int:
    """Give the message number in a recipient or sender of the plan."""
    return int(address[1:].partition("@")[0].partition("-")[0])


class Ledger:
    """What arrived, by message: how often each recipient, and whether the bytes are those sent."""

    def __init__(self, plan: list[Planned]) -> None:
        self._plan = {one.number: one for one in plan}
        self.copies: Counter[str] = Counter()
        self.changed: list[int] = []
        self.bounced: Counter[int] = Counter()
        self._read = 0

    def ignore(self, arrivals: list[Arrival]) -> None:
        """Leave out what was there before: of another run."""
        self._read = len(arrivals)

    def enter(self, arrivals: list[Arrival]) -> None:
        """Take in what is new since the last call."""
        for arrival in arrivals[self._read :]:
            if not arrival.sender:
                self.bounced.update(number_of(address) for address in arrival.recipients)
                continue
            number = number_of(arrival.sender)
            self.copies.update(arrival.recipients)
            if not arrival.content.endswith(self._plan[number].letter.content):
                self.changed.append(number)
        self._read = len(arrivals)

    def complete(self, planned: Planned) -> bool:
        """True if every recipient of a message has its copy."""
        return all(self.copies[address] for address in planned.letter.recipients)

    def doubled(self) -> int:
        """Count recipients that got a message more than once."""
        return sum(1 for n in self.copies.values() if n > 1)
