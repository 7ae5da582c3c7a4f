"""`gatepost cli`: the same commands on the machine itself, without SSH.

Whoever can open the control sockets is an administrator. With words it runs one command, without it reads command
lines from standard input.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from ops.cli.account import LOCAL
from ops.cli.appliance import Appliance
from ops.cli.commands import registry
from ops.cli.display import clean, is_plain, unpainted
from ops.cli.execute import AuditLog, Executor, SilentLog
from ops.cli.line import LineScreen
from ops.cli.progress import progress_on
from ops.cli.registry import Call
from ops.cli.session import Session

_DAY_S = 86400.0


async def run_local(
    appliance: Appliance,
    argv: Sequence[str],
    *,
    stdin: TextIO = sys.stdin,
    stdout: TextIO = sys.stdout,
    stderr: TextIO = sys.stderr,
    width: int = 0,
    audit: AuditLog | None = None,
) -> int:
    """Run one command line (`--json` among its words asks for JSON), or a session; give the exit status.

    width is the number of columns to fit tables into, 0 for as wide as they come.
    """
    executor = Executor(registry(appliance.schema), appliance, audit or SilentLog())

    async def read_all() -> bytes:
        return (await asyncio.to_thread(stdin.read)).encode()

    async def read_line() -> str:
        return await asyncio.to_thread(stdin.readline)

    def write(text: str) -> None:
        stdout.write(unpainted(text) if _without_styles() else text)
        stdout.flush()

    if not argv:
        session = Session(executor, LOCAL, LineScreen(read_line, write), idle_s=_DAY_S)
        try:
            return await session.run()
        finally:
            session.close()

    def show(text: str) -> None:
        write(clean(text, lines=True) + "\n")

    call = Call(appliance, LOCAL, executor.registry, read_all, show, progress_on(stderr), write, width)
    result = await executor.alone(call, argv, width)
    if result.output:
        write(result.output + "\n")
    if result.error:
        stderr.write(f"gatepost: {result.error}\n")
    return result.status


def _without_styles() -> bool:
    """Tell whether the one before the terminal wants no colours, or has a terminal without them."""
    return bool(os.environ.get("NO_COLOR")) or is_plain(os.environ.get("TERM", ""))
