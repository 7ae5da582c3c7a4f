"""The recipient access table as text: `RECIPIENT ACCEPT|REJECT [CODE "TEXT"] [bypass_limits] [(comment)]`, one a line.

`#` begins a line for people. `CODE "TEXT"` is what a refused recipient is told; without it the usual reply is given.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ops.formats import Entry, Parsed, fault

_LINE = re.compile(
    r"(?P<recipient>\S+)(?:\s+(?P<rule>\w+))?"
    r'(?:\s+(?P<code>\d+)(?:\s+(?P<text>"(?:[^"\\]|\\.)*"))?)?'
    r"(?P<bypass>\s+bypass_limits)?"
    r"(?:\s+\((?P<comment>.*)\))?",
    re.IGNORECASE,
)
HEAD = """\
# Recipient Access Table:
# RECIPIENT ACCEPT|REJECT [CODE "TEXT"] [bypass_limits] [(comment)]"""


class RecipientAccess:
    """The format."""

    def parse(self, text: str) -> Parsed:
        """Read a text."""
        entries: list[Entry] = []
        faults: list[str] = []
        for number, whole in enumerate(text.split("\n"), 1):
            line = whole.strip()
            if not line or line.startswith("#"):
                continue
            found = _LINE.fullmatch(line)
            if found is None:
                faults.append(fault(number, f"RECIPIENT ACCEPT or REJECT is needed (found {line[:60]!r})"))
            else:
                entries.append(Entry(number, _values(found)))
        return Parsed(tuple(entries), tuple(faults))

    def format(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write rows."""
        width = min(max((len(str(row["recipient"])) for row in rows), default=0), 40)
        return "".join(f"{line}\n" for line in [HEAD, *(_line(row, width) for row in rows)])


def _values(found: re.Match[str]) -> dict[str, str | list[str]]:
    values: dict[str, str | list[str]] = {"recipient": found["recipient"]}
    if found["rule"]:
        values["rule"] = found["rule"]
    if found["code"]:
        values["code"] = found["code"]
    if found["text"]:
        values["text"] = json.loads(found["text"])
    if found["bypass"]:
        values["bypass_limits"] = "yes"
    if found["comment"]:
        values["comment"] = found["comment"].strip()
    return values


def _line(row: Mapping[str, Any], width: int) -> str:
    parts = [str(row["recipient"]).ljust(width), str(row.get("rule", "ACCEPT"))]
    if "code" in row or "text" in row:
        parts.append(str(row.get("code", 550)))
    if "text" in row:
        parts.append(json.dumps(row["text"], ensure_ascii=False))
    if row.get("bypass_limits"):
        parts.append("bypass_limits")
    if row.get("comment"):
        parts.append(f"({row['comment']})")
    return " ".join(parts)
