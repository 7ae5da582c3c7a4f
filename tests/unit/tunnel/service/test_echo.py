"""tunnel.service.pty: whether what is typed is shown, so that a password is in no recording."""

import asyncio
from pathlib import Path

import pytest

from tunnel.service.pty import PtyChild


@pytest.mark.parametrize(
    ("modes", "expected"), [("echo icanon", True), ("-echo icanon", False), ("-echo -icanon", None)]
)
async def test_a_terminal_says_whether_it_shows_what_is_typed(
    tmp_path: Path, modes: str, expected: bool | None
) -> None:
    ready = asyncio.Event()
    child = await PtyChild.start(
        ["sh", "-c", f"stty {modes}; echo ready; sleep 30"],
        lambda _data: ready.set(),
        environment={"PATH": "/usr/bin:/bin", "TERM": "xterm"},
        folder=tmp_path,
        size=(80, 24),
    )
    async with asyncio.timeout(10):
        await ready.wait()
    assert child.echoes is expected
    await child.kill()
    assert child.echoes is None
