"""MTA-STS (RFC 8461) without I/O: the TXT record, the policy document, which hosts a policy allows.

Called by `mail/delivery/tls/sts.py`. Raises `ValueError` with the reason in words.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Mode = Literal["enforce", "testing", "none"]

MAX_OCTETS = 64 * 1024
MAX_AGE_S = 31_557_600
"""RFC 8461 3.2: a year is the most."""
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain asks of those who send to it."""

    mode: Mode
    max_age_s: int
    mx: tuple[str, ...]
    """Names in lower case; `*.` in front stands for exactly one label."""
    text: str = ""
    """As fetched, for reports."""

    def allows(self, host: str) -> bool:
        """Tell whether a host's name matches one of the patterns (RFC 8461 4.1)."""
        name = host.rstrip(".").lower()
        parent = name.partition(".")[2]
        return any(pattern == name or (pattern[:2] == "*." and pattern[2:] == parent) for pattern in self.mx)


def policy_id(texts: Iterable[str]) -> str | None:
    """Give the id in the TXT records of `_mta-sts`, None if there is no MTA-STS (RFC 8461 3.1).

    More than one record that begins with `v=STSv1`, or a bad one, counts as none.
    """
    found = [text for text in texts if re.match(r"v=STSv1[ \t]*(;|$)", text)]
    if len(found) != 1:
        return None
    fields = [part.strip().partition("=") for part in found[0].split(";")]
    ids = [value.strip() for key, _, value in fields if key.strip() == "id"]
    return ids[0] if ids and _ID.fullmatch(ids[0]) else None


def parse_policy(document: bytes) -> Policy:
    """Read a policy (RFC 8461 3.2). Keys that are not known are passed over; of one given twice the first counts."""
    if len(document) > MAX_OCTETS:
        raise ValueError(f"more than {MAX_OCTETS} octets")
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    fields, hosts = _fields(text)
    if fields.get("version") != "STSv1":
        raise ValueError("no 'version: STSv1'")
    mode = fields.get("mode", "")
    if mode not in ("enforce", "testing", "none"):
        raise ValueError("mode is none of enforce, testing, none")
    if mode != "none" and not hosts:
        raise ValueError("no mx")
    return Policy(mode, _age(fields.get("max_age", "")), tuple(hosts), text)  # type: ignore[arg-type]


def _fields(text: str) -> tuple[dict[str, str], list[str]]:
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in re.split(r"\r?\n", text):
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not line.strip():
            continue
        if not colon or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", key):
            raise ValueError("a line is no 'key: value'")
        if key == "mx":
            hosts.append(_host(value))
        else:
            fields.setdefault(key, value)
    return fields, hosts


def _host(value: str) -> str:
    name = value.lower().rstrip(".")
    if not _NAME.fullmatch(name):
        raise ValueError("an mx is no host name")
    return name


def _age(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value):
        raise ValueError("max_age is no number of seconds")
    return min(int(value), MAX_AGE_S)
