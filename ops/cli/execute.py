"""Running commands: the one way from words or arguments to a result, for every front end.

Checks the caller's right, parses, runs, renders, and writes one audit line per command: who, from where, what,
status. Whatever a command raises becomes one line with an exit status; what was not foreseen becomes an incident
id (status 70) and never reaches a sibling session.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.diagnostic import incident
from core.errors import EX_NOPERM, EX_OK, EX_SOFTWARE, GatepostError
from ops.cli.account import Caller
from ops.cli.appliance import Appliance
from ops.cli.argument import UsageProblem, parse
from ops.cli.display import as_json, clean, scrub
from ops.cli.registry import Call, Command, Document, Registry

LONGEST = 32_768
"""Characters of a command line."""
_WORD = 300
_ENDLESS = re.compile(rf"\S{{{_WORD + 1},}}")
_BEFORE_A_CHANGE = frozenset({"passwd", "exit", "quit", "whoami"})


class AuditLog(Protocol):
    """Where audit lines go; `core.maillog.MailLog` is one."""

    def info(self, text: str) -> None:
        """Write one line."""


class SilentLog:
    """An audit log for tests and for tools that keep none."""

    def info(self, text: str) -> None:
        """Write nothing."""


class Leave(Exception):
    """The session is to end."""


@dataclass(frozen=True)
class Result:
    """What a command line came to: text for standard output, one line for standard error, the exit status."""

    status: int = EX_OK
    output: str = ""
    error: str = ""


def split(line: str) -> list[str]:
    """Split a command line into words as a shell does. Raises `UsageProblem` for an open quote, or a line too long."""
    if len(line) > LONGEST:  # the time that splitting takes grows with the square of a word
        raise UsageProblem(f"a command line has at most {LONGEST} characters; longer values come from standard input")
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageProblem(f"cannot read that line: {str(error).lower()}") from None


class Executor:
    """Runs commands of one registry on one appliance."""

    def __init__(self, registry: Registry, appliance: Appliance, audit: AuditLog) -> None:
        self.registry = registry
        self.appliance = appliance
        self._audit = audit

    async def perform(self, call: Call, item: Command, arguments: Document) -> Document:
        """Run one command with arguments, checked and audited. Raises `GatepostError`, `Leave`."""
        status = EX_SOFTWARE
        try:
            _stand(call.caller, item)
            self.registry.admit(item, self.appliance.role, call.caller)
            if item.run is None:
                names = ", ".join(below.name for below in self.registry.below(item.name))
                raise UsageProblem(f"{item.name}: say which operation: {names}")
            document = await item.run(call, **arguments)
            status = EX_OK
        except Leave:
            status = EX_OK
            raise
        except GatepostError as error:
            status = error.status
            raise
        except Exception as error:  # the boundary of a session: one command never takes others down
            number = incident(f"console: {item.name}", error)
            raise GatepostError(
                f"{item.name}: internal error, incident {number}; see the console's log", EX_SOFTWARE
            ) from None
        finally:
            self._log(call.caller, item.safe(arguments), status)
        return document

    async def batch(self, call: Call, words: Sequence[str], width: int = 0) -> Result:
        """Run one command line without questions; `--json` anywhere in it asks for the document itself."""
        rest = [word for word in words if word != "--json"]
        try:
            _check_encoding(words)
            item, left = self.registry.find(rest)
        except GatepostError as error:
            self._log(call.caller, " ".join(rest), error.status)
            return Result(error.status, error=line_of(error))
        try:
            self.registry.admit(item, self.appliance.role, call.caller)
            arguments = parse(item.parameters, left)
        except UsageProblem as error:
            self._log(call.caller, item.name, error.status)
            return Result(error.status, error=f"{item.name}: {line_of(error)}; usage: {clean(item.brief_usage)}")
        except GatepostError as error:
            self._log(call.caller, item.name, error.status)
            return Result(error.status, error=line_of(error))
        as_document = len(rest) != len(words)
        try:
            document = await self.perform(call.quiet() if as_document else call, item, arguments)
        except GatepostError as error:
            return Result(error.status, error=line_of(error))
        return Result(output=as_json(document) if as_document else self.render(item, document, width))

    async def alone(self, call: Call, words: Sequence[str], width: int = 0) -> Result:
        """Run one command line that belongs to no session; to leave is then to do nothing."""
        try:
            return await self.batch(call, words, width)
        except Leave:
            return Result(output="{}" if "--json" in words else "")

    def render(self, item: Command, document: Document, width: int) -> str:
        """Give the text form of a command's document, clean of whatever mail or peers put into it."""
        return item.render(scrub(document, multiline=item.multiline), width).rstrip("\n")

    def refused(self, caller: Caller, what: str) -> None:
        """Log something that a caller asked for and may not have."""
        self._log(caller, what, EX_NOPERM)

    def note(self, caller: Caller, event: str) -> None:
        """Log that a session began or ended."""
        self._audit.info(clean(f"CLI {caller}: {event}"))

    def _log(self, caller: Caller, what: str, status: int) -> None:
        self._audit.info(clean(f"CLI {caller} ran: {what[:400]}; status {status}"))


def _check_encoding(words: Sequence[str]) -> None:
    """Raise status 64 for octets of a shell's command line that are no text: nothing here could pass them on."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise UsageProblem("a word of that line is not UTF-8 text") from None


def _stand(caller: Caller, item: Command) -> None:
    """Raise status 77 where a log-in has ended meanwhile, or is for a change of the password only."""
    if caller.grant.revoked:
        raise GatepostError("your access was taken away", EX_NOPERM)
    if caller.grant.must_change and item.name not in _BEFORE_A_CHANGE:
        raise GatepostError("your password has to be changed first; log in without a command, or run passwd", EX_NOPERM)


def line_of(error: GatepostError) -> str:
    """Give the one line of an error, safe to show; of a word without end that somebody gave, its beginning."""
    text = "; ".join(error.text.splitlines()) or "failed"
    return clean(_ENDLESS.sub(lambda word: word[0][:_WORD] + "…", text))
