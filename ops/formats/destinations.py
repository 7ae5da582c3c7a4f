"""The destination table in the model's file format: `[DEFAULT]` and `[domain]` sections with the model's keys.

behaviour.md 2.19: `max_host_concurrency`, `limit_type = MXIP`, `table_tls = require_verify` and so on. Keys of ours
that the model does not have (`dane`, `mta_sts`) stand beside them. What the model has and we do not is read and
named, not kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.formats import Entry, Parsed, fault, word_of
from ops.formats.ini import Sections

_NAMES = {
    "ip_preference": "ip_sort_pref",
    "max_connections": "max_host_concurrency",
    "bounce_verification": "bounce_validation",
    "tls": "table_tls",
}
_OURS = {theirs: ours for ours, theirs in _NAMES.items()}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "ip_preference": {"prefer-v6": "PREFER_V6", "require-v6": "REQUIRE_V6", "prefer-v4": "PREFER_V4"}
    | {"require-v4": "REQUIRE_V4"},
    "limit_type": {"host": "host", "mxip": "MXIP"},
    "limit_apply": {"system": "system", "gateway": "VG"},
    "tls": {
        "off": "off",
        "preferred": "on",
        "required": "require",
        "preferred-verify": "on_verify",
        "required-verify": "require_verify",
    },
}
_NUMBERS: Mapping[str, Mapping[str, str]] = {
    "limit_type": {"0": "host", "1": "mxip"},
    "limit_apply": {"0": "system", "1": "gateway"},
    "tls": {"1": "off", "2": "preferred", "3": "required", "4": "preferred-verify", "5": "required-verify"},
}
_NOT_KEPT = {
    "send_tls_req_alert": "not kept: it is one switch for all, `destconfig setup --alert yes`",
    "certificate": "not kept: connections go out without a certificate of our own",
}


class Destinations:
    """The format."""

    def __init__(self) -> None:
        self._sections = Sections("Destination limits: [DEFAULT] for all domains, [domain] for one", "domain")

    def parse(self, text: str) -> Parsed:
        """Read a text."""
        found = self._sections.parse(text)
        notes: list[str] = []
        entries = tuple(_ours(entry, notes) for entry in found.entries)
        return Parsed(entries, found.faults, tuple(notes))

    def format(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write rows, DEFAULT first."""
        ordered = sorted(rows, key=lambda row: row.get("domain", "DEFAULT") != "DEFAULT")
        return self._sections.format([_theirs(row) for row in ordered])


def _theirs(row: Mapping[str, Any]) -> dict[str, Any]:
    given = {"domain": "DEFAULT", **row}
    return {_NAMES.get(key, key): _WORDS.get(key, {}).get(word_of(value), value) for key, value in given.items()}


def _ours(entry: Entry, notes: list[str]) -> Entry:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for theirs, value in entry.values.items():
        name = theirs.lower()
        if name in _NOT_KEPT:
            if str(value).lower() not in {"", "0", "no", "off", "false", "default"}:
                notes.append(fault(entry.at(theirs), f"{theirs}: {_NOT_KEPT[name]}"))
            continue
        key = _OURS.get(name, name)
        values[key] = _word(key, str(value))
        lines[key] = entry.at(theirs)
    return Entry(entry.line, values, lines)


def _word(key: str, word: str) -> str:
    """Give our word for one of theirs, whatever its case; what is no word of theirs may be one of ours."""
    word = word.lower() if key in _WORDS else word
    known = {theirs.lower(): ours for ours, theirs in _WORDS.get(key, {}).items()} | dict(_NUMBERS.get(key, {}))
    return known.get(word, word)
