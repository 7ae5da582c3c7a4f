"""tunnel.recording.replay: played as it was, at the pace at which it came."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from core.errors import GatepostError
from tests.support.need import needs
from tests.support.recorded import Recorded
from tunnel.recording.replay import play, transcript

UTF8 = {"LC_ALL": "C.UTF-8", "TERM": "xterm"}


@needs("asciinema", "script")
async def test_asciinema_reads_what_was_recorded(tmp_path: Path) -> None:
    path = await Recorded(tmp_path).make()
    # It wants a terminal even to write into a file.
    _on_a_terminal(f"asciinema cat {path} > {tmp_path}/out")
    events = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    shown = (tmp_path / "out").read_bytes().decode()
    assert shown == "".join(text for _, code, text in events if code == "o")
    assert "esa (SERVICE)> version\r\n" in shown


def _on_a_terminal(command: str) -> bytes:
    """Run a command with a terminal of its own; gives what it showed."""
    script = ["script", "-qec", command, "/dev/null"]
    done = subprocess.run(
        script, capture_output=True, check=True, timeout=30, stdin=subprocess.DEVNULL, env=os.environ | UTF8
    )
    return done.stdout


@needs("asciinema", "script")
async def test_asciinema_plays_it(tmp_path: Path) -> None:
    path = await Recorded(tmp_path).make()
    assert b"(SERVICE)> version" in _on_a_terminal(f"asciinema play -s 100 -i 0.1 {path}")


async def test_a_replay_keeps_the_pace_shortens_silence_and_puts_the_terminal_back(tmp_path: Path) -> None:
    path = tmp_path / "x.cast"
    lines = [
        {"version": 2, "width": 80, "height": 24},
        [1.0, "o", "a"],
        [4.0, "o", "b"],
        [4.0, "m", "{}"],
        [64.0, "o", "c"],
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    slept: list[float] = []
    written: list[str] = []
    play(path, written.append, speed=2, max_idle_s=5, sleep=slept.append)
    assert (slept, "".join(written[:3])) == ([0.5, 1.5, 2.5], "abc")
    assert "\x1b[?25h" in written[3]

    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(path, written.append, sleep=stop)
    assert "\x1b[?25h" in written[-1]


async def test_a_transcript_is_text_with_what_happened_between(tmp_path: Path) -> None:
    text = "".join(transcript(await Recorded(tmp_path).make()))
    assert "esa (SERVICE)> version\nGatepost grüß !\n" in text
    assert re.search(r"^--- 0\.\d s pty term='xterm'", text, re.MULTILINE)
    assert re.search(r"^--- 0\.\d s signal signal='INT'$", text, re.MULTILINE)
    assert re.search(r"^--- 0\.\d s close how='ended'", text, re.MULTILINE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_a_recording_of_the_first_form_still_plays(tmp_path: Path) -> None:
    path = tmp_path / "x.cast"
    mark = json.dumps({"kind": "exec", "command": "version"})
    header = {"version": 2, "width": 80, "height": 24, "gatepost": {"id": "1", "engineer": "ana"}}
    lines = [header, [0.1, "m", mark], [0.2, "o", "hi\r\n"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '[0.3, "o", "cut')
    assert list(transcript(path))[1:] == ["--- 0.1 s exec command='version'\n", "hi\n"]
    written: list[str] = []
    play(path, written.append, sleep=lambda _s: None)
    assert written[0] == "hi\r\n"


def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(GatepostError, match="cannot be read"):
        list(transcript(path))
    path.write_text("hello\n")
    with pytest.raises(GatepostError, match="not a recording"):
        list(transcript(path))
