"""The words of a report: texts with variables, cut once when the configuration is read.

A text is what people read in a bounce, a delay warning or a success report. `$Name` stands for a value, `$$` for a
dollar sign; a name that there is not is refused with `ValueError` when the text is read. What a peer or a sender
wrote is cleaned by whoever gives the values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bounce", "delay", "success"]
VARIABLES: Final = {
    "About": "the words “with the subject …”, nothing if there is no subject",
    "BodySize": "octets of the message",
    "Copy": "what is attached: the message, or its header",
    "Date": "today's date",
    "Details": "each recipient with what happened, the reply, and what can be done",
    "EnvelopeFrom": "the envelope sender",
    "Hostname": "this host",
    "MID": "number of the message here",
    "ReceivedAt": "when the message was received",
    "Recipients": "the recipients concerned, one a line",
    "RetryUntil": "until when delivery is tried",
    "Subject": "subject of the message",
    "Time": "time of day",
}
"""What a text may name, without regard to case, and what it stands for."""

_NAMES = frozenset(name.lower() for name in VARIABLES)
_VARIABLE = re.compile(r"\$(\$|[A-Za-z]+)")
_LINE = re.compile(r"\r\n|\r|\n")
MAX_TEXT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Text:
    """A text ready for use."""

    subject: str
    pieces: tuple[str, ...]
    """Plain text and names of variables in turn, beginning with plain text."""

    def fill(self, values: Mapping[str, str]) -> str:
        """Give the text with all variables filled in, lines ending in CRLF."""
        filled = "".join(values[piece] if number % 2 else piece for number, piece in enumerate(self.pieces))
        return "\r\n".join(_LINE.split(filled))


def read_text(text: str, subject: str) -> Text:
    """Cut a text at its variables. Raises `ValueError` naming every one that there is not."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text has at most {MAX_TEXT} characters")
    unseen = [character for character in text if not character.isprintable() and character not in "\r\n\t"]
    if unseen or not subject.isprintable():
        raise ValueError("a text is made of printable characters, its subject of one line of them")
    pieces = [""]
    at = 0
    unknown: dict[str, None] = {}
    for found in _VARIABLE.finditer(text):
        pieces[-1] += text[at : found.start()]
        at = found.end()
        name = found[1].lower()
        if name == "$":
            pieces[-1] += "$"
        elif name in _NAMES:
            pieces += [name, ""]
        else:
            unknown[f"${found[1]}"] = None
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no variable; there are: {', '.join(f'${one}' for one in VARIABLES)}")
    pieces[-1] += text[at:]
    return Text(subject, tuple(pieces))


_BOUNCE = """This is the mail system at $Hostname.

Your message$About,
received on $ReceivedAt, could not be delivered to:

$Details
No further attempts will be made. $Copy is attached.
"""
_DELAY = """This is the mail system at $Hostname.

Your message$About,
received on $ReceivedAt, has not been delivered yet to:

$Details
You need not do anything: delivery is tried until $RetryUntil.
If it does not succeed by then, you will be told. $Copy is attached.
"""
_SUCCESS = """This is the mail system at $Hostname.

As you asked, this is to tell you that your message$About,
received on $ReceivedAt, was passed on for:

$Details
The host that has it now does not report what becomes of it. $Copy is attached.
"""
SUBJECTS: Final[Mapping[Kind, str]] = {
    "bounce": "Undelivered mail: delivery failed",
    "delay": "Delayed mail: not delivered yet",
    "success": "Mail was passed on",
}


BUILT_IN: Final[Mapping[Kind, Text]] = {
    "bounce": read_text(_BOUNCE, SUBJECTS["bounce"]),
    "delay": read_text(_DELAY, SUBJECTS["delay"]),
    "success": read_text(_SUCCESS, SUBJECTS["success"]),
}
