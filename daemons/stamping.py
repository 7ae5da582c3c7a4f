"""The texts that a gateway puts into messages, from the configuration: disclaimers, and which listener wants them."""

from collections.abc import Iterable

from core.errors import ConfigError, Problem
from daemons.config import Esa
from daemons.machine import Machine
from mail.stamp import NO_DISCLAIMERS, Disclaimer, Disclaimers, Where, disclaimer

Wanted = tuple[tuple[Where, str], ...]


def disclaimers(machine: Machine, document: Esa) -> Disclaimers:
    """Read the texts. Raises `ConfigError` for each that is unreadable or missing."""
    problems: list[Problem] = []
    texts = dict(_texts(machine, document, problems))
    listeners = _listeners(document)
    known = {row.name.lower() for row in document.text if row.kind == "disclaimer"}
    for listener, wanted in listeners.items():
        for where, name in wanted:
            if name not in known:
                reason = f"there is no [[text]] of kind disclaimer called {name!r}"
                problems.append(Problem(str(machine.config), f"listener.{listener}.{where}", reason))
    if problems:
        raise ConfigError(problems)
    return Disclaimers(texts, listeners) if texts else NO_DISCLAIMERS


def _texts(machine: Machine, document: Esa, problems: list[Problem]) -> Iterable[tuple[str, Disclaimer]]:
    for section in document.text:
        if section.kind != "disclaimer":
            continue
        try:
            yield section.name.lower(), disclaimer(section.name, section.load(machine.dir), machine.hostname)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(machine.dir / section.file), "", f"cannot be read: {error}"))


def _listeners(document: Esa) -> dict[str, Wanted]:
    found: dict[str, Wanted] = {}
    for row in document.listener:
        given: tuple[tuple[Where, str], ...] = (("heading", row.heading.lower()), ("footer", row.footer.lower()))
        if wanted := tuple((where, name) for where, name in given if name):
            found[row.name] = wanted
    return found
