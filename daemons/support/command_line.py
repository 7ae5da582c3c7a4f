"""What the commands of the support organisation read from a command line, and how they print and write results.

Used by all modules of this package, and knows none of them. Raises `GatepostError` with the remedy.
"""

import argparse
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_OK, EX_USAGE, GatepostError
from daemons.owner import add_config
from tunnel.identity import is_name, is_word

if TYPE_CHECKING:
    from tunnel.bastion.store import Enrolled


def add_common(parsers: Collection[argparse.ArgumentParser], action: Callable[[argparse.Namespace], int]) -> None:
    """Give parsers what every command has."""
    for parser in parsers:
        add_config(parser)
        parser.set_defaults(action=action)


def add_json(*parsers: argparse.ArgumentParser) -> None:
    """Give parsers the option of a document in place of text."""
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print one JSON document")


def tell(args: argparse.Namespace, document: Any, text: str) -> int:
    """Print a command's result: the document where --json asks for it, else the text."""
    shown = msgspec.json.format(msgspec.json.encode(document)).decode() if getattr(args, "json", False) else text
    print(shown)
    return EX_OK


def write_out(file: Path, text: str) -> None:
    """Write a file that may be carried away, or `-`, standard output. Raises status 73 with the remedy."""
    if str(file) == "-":
        sys.stdout.write(text)
        return
    try:
        replace_file(Disk(), file, text.encode(), mode=0o644)
    except OSError as error:
        raise GatepostError(
            f"{file}: cannot be written: {error.strerror}; choose another place with --out, or - for standard output",
            EX_CANTCREAT,
        ) from error


def serial_name(text: str) -> str:
    """Read a serial number from a command line; gives it in lower case."""
    if not is_name(text.lower()):
        raise GatepostError(f"{text!r} is not a serial number", EX_USAGE)
    return text.lower()


def word(text: str, what: str) -> str:
    """Read the name of an engineer or the number of a case from a command line."""
    if not is_word(text):
        raise GatepostError(f"{what} {text!r}: letters, digits, '.', '_' and '-', at most 64", EX_USAGE)
    return text


def stamp(at: float) -> str:
    """Show a time, `never` for none."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "never"


def last_seen(appliance: "Enrolled", now: float) -> str:
    """Say in a few words when an appliance was last heard of."""
    if not appliance.last_seen_at:
        return "it has never come in"
    minutes = int((now - appliance.last_seen_at) // 60)
    ago = f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours" if minutes < 2880 else ""
    return f"last seen {stamp(appliance.last_seen_at)}" + (f", {ago} ago" if ago else "")
