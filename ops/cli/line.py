"""A screen without a terminal: lines in, text out. For piped input and for `gatepost cli` without a command.

The main prompt is not shown, since nobody sees it; the questions of dialogues are, each on a line of its own.
"""

from collections.abc import Awaitable, Callable, Sequence

from ops.cli.dialogue import at_once


class LineScreen:
    """Reads whole lines from a function that gives '' at the end of input."""

    width = 0

    def __init__(
        self,
        read_line: Callable[[], Awaitable[str]],
        write: Callable[[str], None],
        drain: Callable[[], Awaitable[None]] = at_once,
    ) -> None:
        """`drain` waits while nobody takes what is shown."""
        self._read_line = read_line
        self._write = write
        self.drain = drain

    def write(self, text: str) -> None:
        """Show text."""
        self._write(text)

    def interject(self, text: str) -> None:
        """Show nothing: whoever reads our lines in a program expects only answers."""

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        """Show the question and read the answer. Raises `EOFError`."""
        self._write(prompt.rstrip() + "\n")
        return await self.command("")

    async def command(self, prompt: str) -> str:
        """Read a command line. Raises `EOFError`."""
        line = await self._read_line()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")
