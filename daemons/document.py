"""Writes the commands of the console down: `python -m daemons.document DIR` makes a page each and an index there.

The pages are made by `ops/cli/document.py` from the registry; the commands that edit come from the models, which only
the roots know.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import EX_OK, EX_USAGE
from daemons.operator import document_keys
from ops.cli.commands import registry
from ops.cli.document import pages
from ops.cli.registry import Registry


def every_command() -> Registry:
    """Give the registry with all that the documents of all roles can hold."""
    return registry(document_keys())


def main(argv: Sequence[str]) -> int:
    """Write the pages into the folder named, and take pages of commands that are no more away."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m daemons.document DIR\n")
        return EX_USAGE
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    written = pages(every_command())
    for old in folder.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
