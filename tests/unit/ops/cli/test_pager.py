"""`ops.cli.pager`: pages, lines, the end; as a terminal of ten rows shows them."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest

from ops.cli.pager import HELP, is_long, show_paged


class Terminal:
    """A terminal whose keys are pressed as soon as the question stands."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = list(keys)
        self.shown = ""
        self._take: Callable[[bytes], None] = lambda _: None

    def write(self, text: str) -> None:
        self.shown += text
        if text == HELP and self.keys:
            self._take(self.keys.pop(0))

    async def drain(self) -> None:
        pass

    @contextlib.contextmanager
    def lend(self, take: Callable[[bytes], None]) -> Iterator["Terminal"]:
        self._take = take
        yield self

    @property
    def pages(self) -> list[int]:
        return [part.count("line") for part in self.shown.split(HELP)]


async def paged(count: int, *keys: bytes, width: int = 80, line: str = "line") -> Terminal:
    terminal = Terminal(*keys)
    text = f"{line}\n" * count
    await show_paged(text, terminal.lend, width=width, rows=10, idle_s=5)
    assert terminal.keys == []
    return terminal


@pytest.mark.parametrize(
    ("count", "keys", "pages"),
    [
        (9, (), [9]),
        (10, (), [10]),
        (30, (b" ", b" ", b" "), [9, 9, 9, 3]),
        (12, (b"\r", b"\n"), [9, 1, 2]),
        (30, (b"x", b"q"), [9]),
        (30, (b" ", b"\x03"), [9, 9]),
        (30, (b"\x04",), [9]),
        (30, (b"",), [9, 21]),
    ],
)
async def test_keys_show_what_they_say(count: int, keys: tuple[bytes, ...], pages: list[int]) -> None:
    if b"x" in keys:
        terminal = Terminal(b"x")
        showing = asyncio.get_running_loop().create_task(
            show_paged("line\n" * count, terminal.lend, width=80, rows=10, idle_s=5)
        )
        await asyncio.sleep(0)
        terminal._take(b"q")
        await showing
    else:
        terminal = await paged(count, *keys)
    assert [n for n in terminal.pages if n] == pages


async def test_a_line_that_takes_two_rows_is_counted_as_two() -> None:
    terminal = await paged(10, b"q", line="line " + "x" * 90)
    assert terminal.pages[0] == 4


async def test_one_line_longer_than_the_screen_is_a_page() -> None:
    terminal = await paged(3, b" ", line="line " + "x" * 2000)
    assert terminal.pages == [1, 2]


async def test_the_question_is_taken_away_again() -> None:
    terminal = await paged(30, b"q")
    assert terminal.shown.endswith(HELP + "\r" + " " * len(HELP) + "\r")


async def test_nobody_who_presses_nothing_holds_the_session() -> None:
    with pytest.raises(TimeoutError):
        await show_paged("line\n" * 30, Terminal().lend, width=80, rows=10, idle_s=0.01)


def test_what_fits_is_not_long() -> None:
    assert not is_long("line\n" * 9, width=80, rows=10)
    assert is_long("line\n" * 10, width=80, rows=10)
    assert not is_long("line\n" * 1000, width=80, rows=0)
