"""`gatepost manual DIR`: the manual pages, made from the parsers, the registry, the daemons' roots and the models.

`gatepost.1` is the executable, `gatepost-cli.1` every operator command, `gatepost-DAEMON.8` each daemon, and
`gatepost.toml.5` the configuration. Packages write them at their build; `man -l FILE` shows one.
"""

import argparse
import ast
import importlib.util
import os
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import EX_CANTCREAT, EX_OK, GatepostError
from core.schema import Key, Schema
from daemons.document import every_command
from daemons.formats import release
from daemons.gatepost import DAEMONS, parser
from daemons.operator import document_keys
from daemons.owner import STANDARD, VARIABLE
from daemons.shell.grammar import Node, Option, grammar
from ops.cli.argument import on_the_line
from ops.cli.registry import Command

_WIDTH = 76


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command."""
    sub.add_argument("dir", type=Path, metavar="DIR", help="folder for the pages, made if it is not there")
    sub.set_defaults(action=_write)


def _write(args: argparse.Namespace) -> int:
    made = pages()
    try:
        args.dir.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (args.dir / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise GatepostError(
            f"{args.dir}: {error.strerror}; choose a folder that can be written", EX_CANTCREAT
        ) from error
    print(f"{args.dir}: {len(made)} pages")
    return EX_OK


def pages() -> dict[str, str]:
    """Give every page by its file name."""
    made = {"gatepost.1": _executable(), "gatepost-cli.1": _commands(), "gatepost.toml.5": _configuration()}
    return {**made, **{f"gatepost-{name}.8": _daemon(name) for name in DAEMONS}}


def _escaped(text: str) -> str:
    """Make text safe for roff: backslashes, hyphens that are hyphens, dots and quotes at the beginning of a line."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{plain}" if plain.startswith(".") else plain


def _filled(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield _escaped(line)


def _page(name: str, section: int, about: str, body: Iterable[str]) -> str:
    head = f'.TH "{_escaped(name.upper())}" {section} "{_day()}" "Gatepost {release()}" "Gatepost"'
    lines = [head, ".ad l", ".nh", ".SH NAME", f"{_escaped(name)} \\- {_escaped(about.rstrip('.'))}", *body]
    return "\n".join(lines) + "\n"


def _day() -> str:
    """Give the day of the build; SOURCE_DATE_EPOCH says another, for builds that are to be the same."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))


def _paragraphs(text: str) -> Iterator[str]:
    for place, paragraph in enumerate(text.strip().split("\n\n")):
        if place:
            yield ".PP"
        yield from _filled(paragraph)


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_quoted(tag)}"
    yield from _filled(text or "See above.")


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace('"', "\\(dq") + '"'


def _flags(options: dict[str, Option]) -> Iterator[str]:
    for flag, option in options.items():
        if flag not in {"-h", "--help"}:
            choices = "|".join(option.choices) if option.choices and option.choices != ("FILE",) else option.value
            yield from _tagged(f"{flag} {choices}".strip(), option.text)


def _executable() -> str:
    top = parser(None)
    body = [".SH SYNOPSIS", ".B gatepost", ".I COMMAND", "[argument ...]", ".SH DESCRIPTION"]
    body += _paragraphs(top.description or "")
    body.append(".SH COMMANDS")
    for path, node in grammar().walk():
        if path and path[0] == "cli" and len(path) > 1:
            continue
        if path:
            body += _subcommand(path, node)
    body += [".SH EXIT STATUS", *_filled(_STATUSES)]
    body += [".SH ENVIRONMENT", *_tagged(VARIABLE, "The configuration that is meant where --config names none.")]
    body += [
        ".SH FILES",
        *_tagged(str(STANDARD), f"The configuration where neither --config nor {VARIABLE} names one."),
    ]
    body += [
        ".SH SEE ALSO",
        *_also("gatepost-cli(1)", "gatepost.toml(5)", *(f"gatepost-{one}(8)" for one in DAEMONS)),
    ]
    return _page("gatepost", 1, "mail gateways, one central quarantine and remote support", body)


_CONFIG = "[\\fB\\-\\-config\\fR \\fIFILE\\fR]"
_STATUSES = (
    "0 after success; 64 wrong usage; 65 data that cannot be; 66 no such thing; 69 a daemon that does not run;"
    " 70 an internal error; 75 try again; 77 not allowed; 78 a configuration with faults."
)


def _subcommand(path: tuple[str, ...], node: Node) -> Iterator[str]:
    yield f".SS {_quoted(' '.join(path))}"
    yield from _filled(node.text or f"Commands that begin with {' '.join(path)}.")
    if node.words:
        yield ".PP"
        yield from _filled(f"One of: {', '.join(node.words)}.")
    yield from _flags(node.options)


def _also(*names: str) -> Iterator[str]:
    for place, name in enumerate(names, 1):
        page, _, section = name.rstrip(")").partition("(")
        yield f".BR {_escaped(page)} ({section}){',' if place < len(names) else ''}"


def _commands() -> str:
    body = [
        ".SH SYNOPSIS",
        ".B gatepost cli",
        _CONFIG,
        ".I COMMAND",
        "[argument ...]",
        "[\\-\\-json]",
    ]
    about = (
        "The operator commands, on the machine itself or over SSH (ssh USER@HOST 'COMMAND'). Without a command lines"
        " are read from standard input; over SSH on a terminal there is a session with completion and dialogues."
    )
    body += [".SH DESCRIPTION", *_filled(about), ".SH COMMANDS"]
    for item in every_command().all():
        body += _command(item)
    return _page("gatepost-cli", 1, "operator commands of a Gatepost machine", body)


def _command(item: Command) -> Iterator[str]:
    yield f".SS {_quoted(item.usage if item.run is not None else item.name)}"
    yield from _filled(item.summary)
    if item.run is not None and item.details:
        yield from _filled(item.details)
    if item.dialogue is not None:
        yield from _filled("Without arguments, in a session, it asks for what it needs.")
    for one in on_the_line(item.parameters):
        yield from _tagged(one.option if one.kind in {"option", "flag"} else one.metavar, one.help.text)
    yield ".PP"
    yield from _filled(f"Roles: {', '.join(sorted(item.roles))}. Machines: {', '.join(sorted(item.machines))}.")


def _daemon(name: str) -> str:
    spec = importlib.util.find_spec(f"daemons.{name.replace('-', '_')}")
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or name
    first, _, rest = text.partition("\n\n")
    about = first.partition(": ")[2] or first
    body = [".SH SYNOPSIS", f".B gatepost run {_escaped(name)}", _CONFIG]
    body += [".SH DESCRIPTION", *_paragraphs(f"{about}\n\n{rest}" if rest else about)]
    body += [".PP", *_filled(f"It belongs on machines of the role {' or '.join(DAEMONS[name])}.")]
    body += [".SH SIGNALS", *_tagged("SIGTERM", "Takes no new work, ends what is in hand, and stops.")]
    body += [*_tagged("SIGHUP", "Reads the configuration again; with faults all stays as it is.")]
    body += [".SH SEE ALSO", *_also("gatepost(1)", "gatepost.toml(5)")]
    return _page(f"gatepost-{name}", 8, " ".join(about.split()), body)


def _configuration() -> str:
    about = (
        "One TOML document per machine. gatepost init writes it with a comment for every key, gatepost check reads it."
    )
    body = [".SH DESCRIPTION", *_filled(about)]
    body += _sections(document_keys())
    body += [".SH SEE ALSO", *_also("gatepost(1)")]
    return _page("gatepost.toml", 5, "configuration of a Gatepost machine", body)


def _sections(schema: Schema) -> Iterator[str]:
    for name, key in schema.items():
        yield f".SH {_quoted(f'[[{name}]]' if key.kind == 'table' else f'[{name}]')}"
        yield from _filled(key.description or f"The section {name}.")
        if key.shape is not None:
            yield from _keys(key.shape.keys)


def _keys(keys: Iterable[Key]) -> Iterator[str]:
    for key in keys:
        facts = [key.description or "."]
        if key.choices:
            facts.append(f"One of: {', '.join(key.choices)}.")
        if key.default is not None and not key.secret and key.kind not in {"section", "table"}:
            facts.append(f"Default: {key.show(key.default) or 'none'}.")
        if key.required:
            facts.append("Required.")
        yield from _tagged(key.name, " ".join(facts))
