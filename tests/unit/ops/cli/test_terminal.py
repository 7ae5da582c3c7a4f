"""The terminal without SSH: keys in, drawing out."""

import asyncio

import pytest

from core.runtime import spawn
from ops.cli.dialogue import Aborted
from ops.cli.display import paint
from ops.cli.keyboard import LONGEST_LINE
from ops.cli.terminal import Terminal


def terminal() -> tuple[Terminal, list[str]]:
    drawn: list[str] = []
    return Terminal(drawn.append, 80, 24, "xterm", lambda text: ["status", "suspend"]), drawn


async def test_what_is_typed_before_the_question_is_its_answer() -> None:
    screen, _ = terminal()
    with screen.opened():
        screen.feed(b"early\r")
        async with asyncio.timeout(30):
            assert await screen.read("Name: ") == "early"


async def test_ctrl_c_aborts_a_question_and_is_passed_on_without_one() -> None:
    screen, _ = terminal()
    with screen.opened():
        assert screen.feed(b"\x03")
        asyncio.get_running_loop().call_later(0.01, screen.feed, b"\x03")
        async with asyncio.timeout(30):
            with pytest.raises(Aborted):
                await screen.read("Name: ")


async def test_the_end_of_input_ends_an_open_question_and_every_later_one() -> None:
    screen, _ = terminal()
    with screen.opened():
        asyncio.get_running_loop().call_later(0.01, screen.end)
        async with asyncio.timeout(30):
            with pytest.raises(EOFError):
                await screen.command("> ")
            with pytest.raises(EOFError):
                await screen.read("Name: ")


async def test_tab_completes_a_word_that_is_the_only_one() -> None:
    screen, _ = terminal()
    screen._completer._complete = lambda text: [word for word in ("status", "suspend") if word.startswith(text)]
    with screen.opened():
        screen.feed(b"st\t\r")
        async with asyncio.timeout(30):
            assert await screen.command("> ") == "status"


async def test_the_line_before_comes_back_though_the_arrow_was_typed_before_the_prompt() -> None:
    screen, _ = terminal()
    with screen.opened():
        screen.feed(b"first\r\x1b[A\r")
        async with asyncio.timeout(30):
            assert [await screen.command("> ") for _ in range(2)] == ["first", "first"]
        screen.feed(b"\x1b[A\x1b[A")
        screen.feed(b"\r")
        async with asyncio.timeout(30):
            assert await screen.command("> ") == "first"


async def test_a_flood_of_keys_is_dropped_and_not_kept() -> None:
    screen, _ = terminal()
    with screen.opened():
        for _ in range(100):
            screen.feed(b"x" * 10_000)
        assert screen._keys.waiting < 100_000


def test_lines_end_as_a_raw_terminal_needs_them() -> None:
    async def draw() -> list[str]:
        screen, drawn = terminal()
        screen.write("a\nb\n")
        return drawn

    assert asyncio.run(draw()) == ["a\r\nb\r\n"]


async def test_what_was_typed_before_the_end_of_input_is_still_used_line_by_line() -> None:
    screen, _ = terminal()
    with screen.opened():
        asyncio.get_running_loop().call_later(0.01, screen.feed, b"one\rtwo\rthree\rrest")
        asyncio.get_running_loop().call_later(0.02, screen.end)
        async with asyncio.timeout(30):
            assert [await screen.command("> ") for _ in range(3)] == ["one", "two", "three"]
            with pytest.raises(EOFError):
                await screen.command("> ")


async def test_keys_left_over_in_a_session_are_not_typed_into_the_next_users() -> None:
    first, _ = terminal()
    with first.opened():
        first.feed(b"mine\rquarantine delete 1\r")
        async with asyncio.timeout(30):
            assert await first.command("> ") == "mine"
        first.end()
        second, _ = terminal()
        with second.opened():
            second.feed(b"status\r")
            async with asyncio.timeout(30):
                assert await second.command("> ") == "status"
    third, _ = terminal()
    with third.opened():
        third.feed(b"version\r")
        async with asyncio.timeout(30):
            assert await third.command("> ") == "version"


@pytest.mark.parametrize(("kind", "shown"), [("xterm", "\x1b[31mx\x1b[0m\r\n"), ("dumb", "x\r\n")])
def test_a_terminal_that_knows_no_styles_gets_none(kind: str, shown: str) -> None:
    drawn: list[str] = []
    Terminal(drawn.append, 80, 24, kind, lambda text: []).write(paint("x", "bad", 80) + "\n")
    assert drawn == [shown]


async def test_a_line_without_end_is_cut_and_keeps_no_state_of_each_key() -> None:
    screen, _ = terminal()
    with screen.opened():
        asking = spawn(screen.command("> "), "question")
        await asyncio.sleep(0)
        for _ in range(8):
            screen.feed(b"x" * 8192)
        screen.feed(b"\r")
        async with asyncio.timeout(30):
            assert await asking == "x" * LONGEST_LINE


@pytest.mark.parametrize("keys", [b"\x1b999999a", b"ab\x0b\x01\x0b" + b"\x19" * 40, b"\x18(ab\x18)" + b"\x18e" * 40])
async def test_no_few_keys_make_a_line_of_megabytes(keys: bytes) -> None:
    screen, drawn = terminal()
    with screen.opened():
        screen.feed(keys + b"\r")
        async with asyncio.timeout(30):
            assert len(await screen.command("> ")) <= LONGEST_LINE
    assert sum(map(len, drawn)) < 100_000


async def test_what_is_pasted_is_typed_line_by_line_and_none_is_kept_until_its_end() -> None:
    screen, drawn = terminal()
    with screen.opened():
        screen.feed(b"\x1b[200~one\rtwo\r")
        async with asyncio.timeout(30):
            assert [await screen.read("") for _ in range(2)] == ["one", "two"]
        for _ in range(100):
            screen.feed(b"z" * 8192)
        assert screen._keys.waiting < 100_000
    assert "\x1b[?2004h" not in "".join(drawn)


async def test_keys_are_used_in_turns_so_that_others_are_served_between() -> None:
    screen, _ = terminal()
    turns = 0
    with screen.opened():
        screen.feed(b"\x1b[D" * 3000 + b"\r")
        asking = spawn(screen.command("> "), "question")
        async with asyncio.timeout(30):
            while not asking.done():
                turns += 1
                await asyncio.sleep(0)
    assert turns > 100


async def test_a_storm_of_sizes_is_drawn_once_and_no_size_is_believed_that_no_terminal_has() -> None:
    screen, drawn = terminal()
    with screen.opened():
        asking = spawn(screen.command("> "), "question")
        async with asyncio.timeout(30):
            while not "".join(drawn).endswith("> ") and ">" not in "".join(drawn):
                await asyncio.sleep(0)
        before = len(drawn)
        for size in range(1000):
            screen.resize(2**32 - 1 - size, 2**32 - 1)
        assert len(drawn) == before
        assert (screen.width, screen.height) == (1000, 1000)
        screen.resize(0, 0)
        assert (screen.width, screen.height) == (80, 24)
        screen.resize(1, 1)
        assert (screen.width, screen.height) == (20, 2)
        screen.feed(b"\r")
        async with asyncio.timeout(30):
            assert await asking == ""
