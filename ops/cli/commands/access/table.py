"""The table `[[user]]` as the commands about users change it, in plain tables.

Used by `userconfig`, `passwd`, `totp` and `sshconfig`. Raises `GatepostError`: 66 for a user that is not there, 65 for
what cannot be, such as a machine without an administrator who can log in.
"""

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.config.document import check_document
from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from ops.access.gate import code_digest
from ops.access.rule import stored_password
from ops.cli.account import KEY, PASSWORD, WAYS, Role
from ops.cli.registry import Call
from ops.config import LoginSection
from ops.configuration.place import Tables
from protocol import totp

User = dict[str, Any]
RECOVERY_CODES = 10


def users(tables: Mapping[str, Any]) -> list[User]:
    """Give the rows."""
    found = tables.get("user")
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def find(tables: Mapping[str, Any], name: str) -> User:
    """Give the row of one user. Raises status 66."""
    for row in users(tables):
        if row.get("name") == name:
            return row
    known = ", ".join(sorted(str(row.get("name")) for row in users(tables))) or "none"
    raise GatepostError(f"there is no user {name!r}; there are: {known}", EX_NOINPUT)


def ways_of(row: Mapping[str, Any]) -> list[str]:
    """Give the ways in which a user may log in."""
    return [str(way) for way in row.get("login", [KEY])]


def administers(row: Mapping[str, Any]) -> bool:
    """Tell whether a user is an administrator who can log in."""
    if row.get("role", Role.GUEST) != Role.ADMINISTRATOR or row.get("commands") is not None:
        return False
    return any(row.get("keys") if way.startswith(KEY) else row.get("password") for way in ways_of(row))


def guarded(edit: Callable[[Tables], None]) -> Callable[[Tables], None]:
    """Let an edit be made only if an administrator is left who can log in, where there was one."""

    def keep(tables: Tables) -> None:
        before = {"user": [dict(row) for row in users(tables)]}
        edit(tables)
        keep_an_administrator(before, tables)

    return keep


def keep_an_administrator(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise status 65 where an administrator could log in before, and none can after."""
    if any(administers(row) for row in users(before)) and not any(administers(row) for row in users(after)):
        why = "then no administrator could log in any more; make another one first: userconfig new"
        raise GatepostError(why, EX_DATAERR)


def ways_from(text: str) -> list[str]:
    """Read the ways to log in from a word with commas. Raises status 65."""
    ways = [way for way in (part.strip().lower() for part in text.split(",")) if way]
    unknown = [way for way in ways if way not in WAYS]
    if unknown or not ways:
        raise GatepostError(f"{', '.join(unknown) or 'nothing'}: ways to log in are {', '.join(WAYS)}", EX_DATAERR)
    return list(dict.fromkeys(ways))


def needs_password(ways: Sequence[str]) -> bool:
    """Tell whether one of the ways takes a password."""
    return any(way.startswith(PASSWORD) for way in ways)


def needs_codes(ways: Sequence[str]) -> bool:
    """Tell whether one of the ways asks for a one-time code."""
    return any(way.endswith("+totp") for way in ways)


def public_line(text: str) -> str:
    """Give a public key as the one line that it is kept as. Raises status 65 for what is none."""
    from core.ssh import parse_public  # here and below: a third of the start of any command, for those about keys only

    line = " ".join(text.split())
    try:
        parse_public(line)
    except ValueError as error:
        raise GatepostError(str(error), EX_DATAERR) from None
    return line


def key_facts(line: str) -> dict[str, Any]:
    """Describe a public key; one that was damaged by hand, too."""
    from core.ssh import fingerprint

    kind, _, comment = [*line.split(maxsplit=2), "", "", ""][:3]
    try:
        return {"fingerprint": fingerprint(line), "type": kind, "comment": comment}
    except ValueError:
        return {"fingerprint": "(damaged)", "type": kind[:20], "comment": comment}


def login_rules(call: Call) -> LoginSection:
    """Give the rules in force for passwords and locks. Raises `ConfigError` where the file was broken by hand."""
    return check_document(call.editing.in_force().get("login") or {}, LoginSection, "[login]")


def hashed(call: Call, name: str, password: str) -> str:
    """Check a new password by the rules in force and give its stored form. Blocks. Raises status 65."""
    return stored_password(password, name, least=login_rules(call).least_length, hostname=call.appliance.hostname)


async def password_given(call: Call, password: str, lines: int = 1) -> list[str]:
    """Give what a dialogue asked for, or so many lines of standard input. Raises status 65."""
    given = password.split("\n") if password else []
    if not given:
        try:
            given = (await call.stdin()).decode("utf-8").splitlines()
        except UnicodeDecodeError:
            raise GatepostError("the password on standard input is not UTF-8 text", EX_DATAERR) from None
    if len(given) != lines or not all(given):
        what = "the password as the one line" if lines == 1 else "the old and the new password as two lines"
        raise GatepostError(f"give {what} of standard input; in a session it is asked for", EX_DATAERR)
    return given


def enrol(row: User, hostname: str) -> dict[str, Any]:
    """Give a user a new one-time secret and recovery codes; gives what is to be shown, once."""
    secret = totp.secret_text(secrets.token_bytes(totp.SECRET_OCTETS))
    row["totp_secret"] = secret
    return {"secret": secret, "uri": totp.uri(secret, str(row["name"]), hostname), **new_codes(row)}


def new_codes(row: User) -> dict[str, Any]:
    """Give a user new recovery codes in the place of all that he had."""
    made = [base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower() for _ in range(RECOVERY_CODES)]
    row["recovery_secret"] = [code_digest(code) for code in made]
    return {"recovery_codes": ["-".join(code[place : place + 4] for place in range(0, 16, 4)) for code in made]}


def without_codes(row: User) -> None:
    """Take a user's one-time secret and recovery codes away, and the ways that need them."""
    row.pop("totp_secret", None)
    row.pop("recovery_secret", None)
    row["login"] = list(dict.fromkeys(way.removesuffix("+totp") for way in ways_of(row)))
