"""A command in a fork ends as one in a process of its own does: status, output, errors, signals."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.forked import MOST_TYPED, forks
from tests.support.lab import GATEPOST, ask_socket, gatepost, is_ready, ran
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["--help"], ""),
        (["frobnicate"], ""),
        (["x" * 120_000], ""),
        (["check", "--config", "/nonexistent/gatepost.toml"], ""),
        (["password"], "x" * MOST_TYPED),
        (["password"], ""),
    ],
    ids=("help", "usage", "much to say", "no configuration", "much typed", "nothing typed"),
)
def test_it_says_the_same_and_has_the_same_status(words: list[str], typed: str) -> None:
    status, out, err = forks().run(words, typed.encode(), 60)
    real = ran([*GATEPOST, *words], stdin=typed)
    assert (status, err) == (real.status, real.err)
    assert len(out) == len(real.out), "but for a password's salt"


def test_a_signal_that_ends_it_is_its_status(tmp_path: Path) -> None:
    assert gatepost("init", "--role", "esa", "--dir", str(tmp_path / "m"), "--hostname", "a.example.test").status == 0
    words = ["run", "tunnel-client", "--config", str(tmp_path / "m" / "gatepost.toml")]
    control = tmp_path / "m" / "run" / "tunnel-client.sock"
    with ThreadPoolExecutor() as threads:
        running = threads.submit(forks().run, words, b"", 60)
        eventually(lambda: is_ready(control))
        os.kill(ask_socket(control, "health")["pid"], signal.SIGKILL)
        assert running.result()[0] == -signal.SIGKILL
