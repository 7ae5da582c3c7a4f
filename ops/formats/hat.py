"""The host access table in the model's file format: named mail flow policies, sender groups, single hosts, `ALL`.

behaviour.md 2.14. `$NAME` and a rule with parameters in braces define a policy; `NAME:`, entries and `$POLICY` or a
rule of its own are a sender group; a host and its rule alone are a group of that one entry; `ALL` says what counts for
everybody else. `(comment)` may stand behind entries, rules and braces. -1 is no limit. What the model has and we do
not (reputation, scanning) is read and named, not kept. Order counts.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.formats import Entry, Words, fault

RULES = ("ACCEPT", "RELAY", "REJECT", "TCPREFUSE", "CONTINUE")
_NAMES = {
    "max_message_size": "max_message_size",
    "max_connections_per_address": "max_concurrency",
    "max_messages_per_session": "max_msgs_per_session",
    "max_recipients_per_message": "max_rcpts_per_msg",
    "max_recipients_per_hour": "max_rcpts_per_hour",
    "max_invalid_recipients_per_hour": "dhap_limit",
    "tls": "tls",
    "auth": "smtp_auth",
    "limit_code": "max_rcpts_per_hour_code",
    "limit_text": "max_rcpts_per_hour_text",
    "harvest_code": "dhap_limit_code",
    "harvest_text": "dhap_limit_text",
    "banner_text": "banner_text",
    "reject_code": "reject_code",
    "reject_text": "reject_text",
}
"""Our keys and how the model's files call them."""
_OURS = {theirs: ours for ours, theirs in _NAMES.items()}
_KEY = re.compile(rf"\b({'|'.join(_NAMES)})(?=: )")
_NOT_KEPT = {
    "use_sb": "there is no reputation service",
    "spam_check": "there is no spam engine",
    "virus_check": "there is no virus engine",
    "amp_check": "there is no file reputation service",
    "dkim_signing": "mail is not signed",
    "domain_keys_signing": "mail is not signed",
    "dkim_verification": "signatures are not verified",
    "spf": "sender policies are not looked up",
    "dmarc": "sender policies are not looked up",
    "significant_bits": "limits count by whole addresses",
}
_OFF = {"off", "no", "0", "false", "-1", ""}
_FOREIGN = re.compile(r"(SBRS|dnslist)\[.*\]|SBO:.*", re.IGNORECASE)
_HEADER = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}):\s*(?:\((?P<comment>.*)\))?")
_ACCESS = re.compile(r"(\$[^\s{(]+|[A-Z]+)\s*(.*)", re.DOTALL)
_PARAMETER = re.compile(r'(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s{}"]+)\s*;?\s*')
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_.-]")


def in_its_words(reason: str) -> str:
    """Call the keys in a fault of a line as files of the model call them."""
    return _KEY.sub(lambda found: _NAMES[found[1]], reason)


@dataclass
class HostAccess:
    """What a text holds. Policies and groups have the keys of the configuration's tables."""

    policies: list[Entry] = field(default_factory=list)
    groups: list[Entry] = field(default_factory=list)
    default: Entry | None = None
    """`rule` or `mail_flow_policy` for everybody else."""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse(text: str) -> HostAccess:
    """Read a text."""
    reader = _Reader()
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole.strip()
        if line and not line.startswith("#"):
            reader.line(number, line)
    reader.finish()
    return reader.found


@dataclass
class _Open:
    """What is being read: its kind, where it began, and its values so far."""

    kind: str
    line: int
    values: dict[str, Words]
    lines: dict[str, int] = field(default_factory=dict)
    told: bool = False
    """Whether its rule has been read: only braces and a comment may follow."""


class _Reader:
    """Takes line after line."""

    def __init__(self) -> None:
        self.found = HostAccess()
        self._open: _Open | None = None
        self._in_braces = False

    def line(self, number: int, line: str) -> None:
        """Read one line that says something."""
        if self._in_braces:
            self._parameters(number, line)
        elif line.startswith("{") and self._open is not None and self._open.told:
            self._braces(number, line)
        elif self._open is None or self._open.told:
            self.finish()
            self._begin(number, line)
        else:
            self._within(number, line)

    def finish(self) -> None:
        """Keep what is open."""
        if self._open is None:
            return
        one, self._open = self._open, None
        if self._in_braces:
            self._in_braces = False
            self._fault(one.line, "the braces that begin here are not closed")
        if not one.told:
            name = one.values.get("name", "ALL")
            self._fault(one.line, f"{name} has no rule: $POLICY or one of {', '.join(RULES)} is needed")
        entry = Entry(one.line, one.values, one.lines)
        if one.kind == "ALL":
            if self.found.default is not None:
                self._fault(one.line, f"ALL stands in line {self.found.default.line} already")
            self.found.default = entry
        else:
            (self.found.policies if one.kind == "policy" else self.found.groups).append(entry)

    def _begin(self, number: int, line: str) -> None:
        header = _HEADER.fullmatch(line)
        if header:
            self._open = _Open("group", number, {"name": header[1], "entries": []})
            if header["comment"]:
                self._open.values["comment"] = header["comment"].strip()
            return
        subject, rest = _split(line)
        if subject.startswith("$"):
            self._open = _Open("policy", number, {"name": subject[1:]})
        elif subject.upper() == "ALL":
            self._open = _Open("ALL", number, {})
        elif subject in RULES or subject[0] in "{}":
            self._fault(number, f"{subject} belongs to nothing; a $POLICY, a GROUP: or a host comes first")
            return
        else:
            self._open = _Open("host", number, {"name": _UNNAMEABLE.sub("_", subject)[:64], "entries": [subject]})
        if rest:
            self._within(number, rest)

    def _within(self, number: int, line: str) -> None:
        """Read an entry of a group, or the rule of what is open."""
        one = self._open
        assert one is not None
        access = _ACCESS.fullmatch(line)
        if access is None or not (access[1].startswith("$") or access[1] in RULES):
            self._entry(one, number, line)
            return
        one.told = True
        word, rest = access[1], access[2]
        if word in RULES:
            one.values["rule"] = word
        elif one.kind == "policy":
            self._fault(number, f"{word} stands where the policy's rule is needed: one of {', '.join(RULES)}")
        else:
            one.values["mail_flow_policy"] = word[1:]
            one.lines["mail_flow_policy"] = number
        self._after(number, rest)

    def _entry(self, one: _Open, number: int, line: str) -> None:
        if one.kind != "group":
            self._fault(number, f"a rule is needed: $POLICY or one of {', '.join(RULES)} (found {line[:60]!r})")
            self._open = None
        elif _FOREIGN.fullmatch(line.partition(" (")[0].strip()):
            reason = "not kept: there is no source of reputation or lists here, it would match nobody"
            self.found.notes.append(fault(number, f"{line[:60]}: {reason}"))
        else:
            entries = one.values["entries"]
            assert isinstance(entries, list)
            entries.append(line)

    def _after(self, number: int, rest: str) -> None:
        """Read what stands behind a rule or a closing brace: braces, a comment."""
        one = self._open
        assert one is not None
        if rest.startswith("{"):
            self._braces(number, rest)
        elif rest.startswith("(") and rest.endswith(")"):
            if comment := rest[1:-1].strip():
                one.values["comment"] = comment
                one.lines["comment"] = number
        elif rest:
            self._fault(number, f"braces or a (comment) may stand here, not {rest[:60]!r}")

    def _braces(self, number: int, line: str) -> None:
        self._in_braces = True
        if rest := line[1:].strip():
            self._parameters(number, rest)

    def _parameters(self, number: int, line: str) -> None:
        place = 0
        while place < len(line) and line[place] != "}":
            found = _PARAMETER.match(line, place)
            if found is None:
                self._fault(number, f"KEY = VALUE is needed (found {line[place : place + 60]!r})")
                return
            self._parameter(number, found[1].lower(), _unquoted(found[2]))
            place = found.end()
        if place < len(line):
            self._in_braces = False
            self._after(number, line[place + 1 :].strip())

    def _parameter(self, number: int, theirs: str, value: str) -> None:
        one = self._open
        assert one is not None
        if theirs in _NOT_KEPT:
            if value.lower() not in _OFF:
                self.found.notes.append(fault(number, f"{theirs}: not kept: {_NOT_KEPT[theirs]}"))
            return
        key = _OURS.get(theirs)
        if key is None:
            self._fault(number, f"{theirs}: there is no such parameter; there are: {', '.join(_OURS)}")
        elif one.kind == "ALL":
            self._fault(number, "ALL takes a rule or a $POLICY; parameters for it go into a policy")
        else:
            name = key if one.kind == "policy" else f"policy.{key}"
            if name in one.values:
                self._fault(number, f"{theirs} stands in line {one.lines[name]} already")
            one.values[name] = _our_value(key, value)
            one.lines[name] = number

    def _fault(self, number: int, reason: str) -> None:
        self.found.faults.append(fault(number, reason))


def _split(line: str) -> tuple[str, str]:
    subject, _, rest = line.partition(" ")
    subject, tab, more = subject.partition("\t")
    return subject, f"{more} {rest}".strip() if tab else rest.strip()


def _unquoted(text: str) -> str:
    if text[0] != '"':
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _our_value(key: str, value: str) -> str:
    if key.startswith("max_"):
        return "0" if value == "-1" else value
    if key == "auth":
        return {"preferred": "offered", "on": "offered"}.get(value.lower(), value.lower())
    if key == "tls":
        return {"on": "preferred", "require": "required"}.get(value.lower(), value.lower())
    return value


def format_table(
    policies: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]],
    default: Mapping[str, Any],
    *,
    title: str = "",
) -> str:
    """Write a table so that `parse` reads the same; `default` has the rule or policy for everybody else."""
    lines = [f"# Host Access Table{f' of {title}' if title else ''}; the first match counts"]
    for policy in policies:
        lines += ["", f"${policy['name']}", *_access(policy, _given(policy), "    ")]
    for group in groups:
        lines += ["", *_group(group)]
    return "\n".join([*lines, "", "ALL", *_access(default, {}, "    ")]) + "\n"


def _group(group: Mapping[str, Any]) -> Iterable[str]:
    name, entries = group["name"], list(group.get("entries", ()))
    parameters = _given(group.get("policy", {}))
    if entries == [name] and name.upper() not in {"ALL", *RULES}:
        return [name, *_access(group, parameters, "    ", "CONTINUE")]
    shown = [f"    {entry.lower() if entry in RULES else entry}" for entry in entries]
    return [f"{name}:", *shown, *_access(group, parameters, "        ", "CONTINUE")]


def _access(one: Mapping[str, Any], parameters: Mapping[str, Any], indent: str, otherwise: str = "ACCEPT") -> list[str]:
    """Write a rule with its parameters; `otherwise` is the rule of what has none."""
    named = one.get("mail_flow_policy")
    rule = f"${named}" if named else str(one.get("rule") or otherwise)
    comment = f" ({one['comment']})" if one.get("comment") else ""
    if not parameters:
        return [f"{indent}{rule}{comment}"]
    inner = [f"{indent}    {_NAMES[key]} = {_their_value(key, value)}" for key, value in parameters.items()]
    return [f"{indent}{rule} {{", *inner, f"{indent}}}{comment}"]


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameters[key] for key in _NAMES if parameters.get(key) is not None}


def _their_value(key: str, value: Any) -> str:
    if key == "auth":
        value = {"offered": "preferred"}.get(str(value), value)
    elif key.startswith("max_") and key != "max_invalid_recipients_per_hour" and value in (0, "0"):
        return "-1"
    return str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)
