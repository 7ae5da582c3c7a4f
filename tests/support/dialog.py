"""Transcripts of SMTP conversations: read, and played against a machine or a live listener.

The format stands in `tests/conformance/dialogs/README.md`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

_ESCAPE = re.compile(rb"\\(r|n|0|\\|x[0-9a-fA-F]{2})")
_NAMED = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"\\": b"\\"}
_REPEAT = re.compile(rb"\{(\d+)\*((?:[^{}\\]|\\.)+)\}")


class DialogError(Exception):
    """A transcript that cannot be read, with its line."""


@dataclass(frozen=True)
class Step:
    """One line: C octets of the client, S a line of the server, X closed, T a handshake, M a stored message."""

    kind: str
    octets: bytes
    line: int


@dataclass
class Dialog:
    """One transcript: its steps and the server settings that it asks for."""

    path: Path
    steps: list[Step] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> list[bytes]:
        """The messages that the store has to hold at the end."""
        return [step.octets for step in self.steps if step.kind == "M"]

    def rounds(self) -> list["Round"]:
        """Group the steps: what is sent in one write, and what has to come back before the next."""
        rounds = [Round()]
        for step in self.steps:
            current = rounds[-1]
            if step.kind == "T" or (step.kind == "C" and (current.answers or current.closed)):
                current = Round(tls=step.kind == "T")
                rounds.append(current)
            if step.kind == "C":
                current.sent += step.octets
            elif step.kind == "S":
                current.answers.append(step.octets)
            elif step.kind == "X":
                current.closed = True
        return rounds


@dataclass
class Round:
    """One write of the client, after a handshake if `tls`, and the lines that answer it."""

    tls: bool = False
    sent: bytes = b""
    answers: list[bytes] = field(default_factory=list)
    closed: bool = False


def read_dialog(path: Path) -> Dialog:
    """Read one transcript. Raises `DialogError`."""
    dialog = Dialog(path)
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        text = line.strip(b"\r")
        if not text.strip() or text.startswith(b"#"):
            continue
        try:
            _read_line(dialog, text, number)
        except (ValueError, KeyError) as error:
            raise DialogError(f"{path.name}:{number}: {error}") from None
    return dialog


def _read_line(dialog: Dialog, text: bytes, number: int) -> None:
    kind, mark, rest = text.partition(b":")
    rest = rest.removeprefix(b" ")
    name = kind.decode("ascii")
    if not mark:
        if text not in (b"closed", b"tls"):
            raise ValueError("not a line of a dialog")
        dialog.steps.append(Step("X" if text == b"closed" else "T", b"", number))
    elif name in ("C", "S"):
        ending = b"\r\n" if name == "C" else b""
        dialog.steps.append(Step(name, unescape(rest) + ending, number))
    elif name == "C-raw":
        dialog.steps.append(Step("C", unescape(rest), number))
    elif name == "stored":
        dialog.steps.append(Step("M", unescape(rest), number))
    elif name == "set":
        key, _, value = rest.decode("ascii").partition("=")
        dialog.settings[key.strip()] = value.strip()
    else:
        raise ValueError(f"unknown kind of line {name!r}")


def unescape(text: bytes) -> bytes:
    r"""Resolve `{100*ab}` and then `\r \n \0 \\ \xHH`."""
    text = _REPEAT.sub(lambda found: found[2] * int(found[1]), text)
    return _ESCAPE.sub(lambda found: _NAMED.get(found[1]) or bytes.fromhex(found[1][1:].decode()), text)


def matches(expected: bytes, got: bytes) -> bool:
    """Compare one line of the server: `*` stands for any text."""
    pattern = b".*".join(re.escape(part) for part in expected.split(b"*"))
    return re.fullmatch(pattern, got) is not None
