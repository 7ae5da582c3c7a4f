"""Every dialogue of the console as a transcript: what is typed and the screen that comes (transcripts/README.md)."""

import asyncio
import json
import os
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.config.section import LogSection
from core.log.book import Logs
from core.log.config import subscriptions_of
from core.log.file import LogFile
from core.password import make_hash
from daemons.document import every_command
from ops.access.record import Records
from ops.cli.account import LOCAL, Caller, Role
from ops.cli.execute import split
from ops.cli.registry import Command
from ops.cli.session import Session
from tests.support.appliance import Daemons
from tests.support.editing import TEXT, NoSync
from tests.support.operating import Operating, Screen

HERE = Path(__file__).parent / "transcripts"
CUT = "---\n"
ASKED = "=== asked"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGzM0Kd1Q2l2cyhgkZq8bqW8nVv1mJkXo4m3j0bJc2eU ann@desk"
MORE = f"""
[[user]]
name = "ann"
role = "administrator"
keys = ["{KEY}"]
login = ["key", "password"]
password = "PASSWORD"

[[route]]
domain = "example.com"
hosts = ["mx.example.com"]

[[text]]
name = "Legal"
kind = "disclaimer"
text = "Confidential."
"""
LOG = "Sun Nov 22 02:21:02 2026 Info: MID 11 ICID 7 From: <ann@example.test>\n"


@dataclass
class Transcript:
    """One file: settings of the machine, what is typed, the screen."""

    machine: str = "esa"
    caller: str = ""
    typed: list[str] = field(default_factory=list)
    daemons: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    interrupt: str = ""
    screen: str = ""


class Interrupted(Screen):
    """A screen at which Ctrl-C is pressed once when a text stands there."""

    session: Session

    def __init__(self, text: str, *lines: str) -> None:
        super().__init__(*lines, width=80)
        self._text = text

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        if not self.lines:
            raise EOFError
        return await super().read(prompt, words, hidden=hidden)

    def interject(self, text: str) -> None:
        self.write(text)

    def write(self, text: str) -> None:
        super().write(text)
        if self._text and self._text in self.shown:
            self._text = ""
            asyncio.get_running_loop().call_soon(self.session.interrupt)


def read(path: Path) -> tuple[str, Transcript]:
    """Read a file; gives its part before the screen as it stands, too."""
    above, _, screen = path.read_text(encoding="utf-8").partition(CUT)
    found = Transcript(screen=screen)
    for line in above.splitlines():
        word, _, rest = line.partition(" ")
        if word == ">":
            found.typed.append(rest)
        elif word == "daemon:":
            daemon, verb, document = rest.split(" ", 2)
            found.daemons.setdefault(daemon.replace("-", "_"), {})[verb] = json.loads(document)
        elif word == "hide:":
            found.hidden.append(rest)
        elif word in {"machine:", "caller:", "interrupt:"}:
            setattr(found, word[:-1], rest)
        else:
            assert not line or word == "#", f"{path.name}: {line}"
    return above, found


async def played(folder: Path, transcript: Transcript) -> str:
    """Type a transcript's lines into the console of a machine; gives the screen, and below what daemons were asked."""
    own = TEXT if transcript.machine == "esa" else TEXT.partition("# Two")[0]
    text = (own + MORE).replace('role = "esa"', f'role = "{transcript.machine}"', 1)
    text = text.replace("esa.example.test", f"{transcript.machine}.example.test")
    logs = Logs(subscriptions_of(folder / "log", LogSection(), ()), "", key=folder / "push_ed25519")
    LogFile(next(one for one in logs.all() if one.name == "mail_logs").path).write(LOG.encode())
    records = Records(folder / "state" / "access.db")
    text = text.replace("PASSWORD", make_hash("plum tree lane"))
    machine = Operating(folder, text, disk=NoSync(), logs=logs, records=records)
    caller = Caller("ann", Role.ADMINISTRATOR, "192.0.2.7") if transcript.caller == "ann" else LOCAL
    async with AsyncExitStack() as stack:
        stack.push_async_callback(records.close)
        daemons = Daemons(machine.appliance.run)
        await stack.enter_async_context(daemons.up(**transcript.daemons))
        screen = Interrupted(transcript.interrupt, *transcript.typed)
        screen.session = Session(machine.executor, caller, screen, idle_s=60)
        try:
            async with asyncio.timeout(30):
                await screen.session.run()
        except TimeoutError:
            raise AssertionError(screen.shown) from None
        screen.session.close()
    assert screen.lines == []
    asked = sorted({f"{daemon} {verb} {json.dumps(args)}" for daemon, verb, args in daemons.asked})
    below = "\n".join(["", ASKED, *asked]) if asked else ""
    shown = (screen.shown.rstrip("\n") + below).replace(str(folder), "DIR")
    for pattern in transcript.hidden:
        shown = re.sub(pattern, "…", shown)
    return "\n".join(line.rstrip() for line in shown.splitlines())


@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
async def test_the_screen_is_as_written(path: Path, tmp_path: Path) -> None:
    above, transcript = read(path)
    shown = await played(tmp_path, transcript)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(f"{above}{CUT}{shown}\n", encoding="utf-8")
    assert shown.splitlines() == read(path)[1].screen.splitlines()
    assert "internal error" not in shown


def entered() -> set[str]:
    """Name the commands whose dialogues are begun at the prompt of any transcript or golden screen."""
    commands, found = every_command(), set()
    for path in [*Path(__file__).parent.rglob("golden/*.txt"), *HERE.glob("*.txt")]:
        for line in re.findall(r"^\w+\.example\.test> (.+)$", path.read_text(encoding="utf-8"), re.M):
            try:
                item, left = commands.find(split(line))
            except Exception:  # a line that is wrong on purpose
                continue
            if item.dialogue is not None and len(left) == item.places:
                found.add(item.name)
    return found


def with_dialogue() -> list[Command]:
    """Give the commands that ask questions."""
    return [item for item in every_command().all() if item.dialogue is not None]


def test_every_dialogue_has_a_transcript() -> None:
    assert sorted({item.name for item in with_dialogue()} - entered()) == []
