"""Users of a real console: made over SSH, committed, in by password on a terminal, and put out again by a commit."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.ssh import make_key, public_text, write_key
from tests.support.lab import Ran, gatepost, ran
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh"), needs("tmux")]
HOST = "127.0.76.1"
FIRST, SECOND = "plum tree lane", "nine blue windows"


class Box:
    """A machine with a console that runs, an administrator with a key, and a terminal in tmux."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port(HOST)
        write_key(folder / "admin", make_key("admin"))
        self.config = folder / "m" / "gatepost.toml"
        who = ("--hostname", "sma.example.test", "--admin-key", str(folder / "admin.pub"))
        made = gatepost("init", "--role", "sma", "--dir", str(folder / "m"), *who)
        assert made.status == 0, made
        text = self.config.read_text()
        settings = f'[console]\naddress = "{HOST}"\nport = {self.port}\nbanner = "Property of Example.\\n"'
        self.config.write_text(re.sub(r"^\[console\]", settings.replace("\\", r"\\"), text, flags=re.M))
        host = public_text(make_key()) and (folder / "m" / "keys" / "host_ed25519.pub").read_text().split()[:2]
        (folder / "known_hosts").write_text(f"[{HOST}]:{self.port} {' '.join(host)}\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "console.log").open("ab") as log:
            command = [sys.executable, "-m", "daemons.gatepost", "run", "console", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: "console: ready" in self.said(), "the console", within_s=60)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            (self.folder / "console.log").unlink()

    def said(self) -> str:
        return (self.folder / "console.log").read_text()

    def ssh_words(self, user: str, *, key: str = "") -> list[str]:
        options = ["IdentityAgent=none", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=20"]
        options.append(f"UserKnownHostsFile={self.folder / 'known_hosts'}")
        given = [word for one in options for word in ("-o", one)]
        given += ["-o", "LogLevel=ERROR", "-i", str(self.folder / key)] if key else ["-o", "PubkeyAuthentication=no"]
        return ["ssh", "-F", "none", "-p", str(self.port), *given, f"{user}@{HOST}"]

    def admin(self, line: str, stdin: str = "") -> Ran:
        return ran([*self.ssh_words("admin", key="admin"), line], stdin=stdin)


class Tmux:
    """A terminal of 80 by 24 that a person would sit at."""

    def __init__(self, socket: Path, command: Sequence[str]) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(socket)]
        ran([*self._tmux, "new-session", "-d", "-x", "80", "-y", "24", "--", *command])
        ran([*self._tmux, "set-option", "-g", "remain-on-exit", "on"])

    def screen(self) -> str:
        return ran([*self._tmux, "capture-pane", "-p", "-S", "-"]).out

    def sees(self, text: str) -> str:
        eventually(lambda: text in self.screen(), lambda: f"{text!r} on the screen:\n{self.screen()}")
        return self.screen()

    def types(self, *keys: str) -> None:
        ran([*self._tmux, "send-keys", *keys])

    def line(self, text: str) -> None:
        ran([*self._tmux, "send-keys", "-l", text])
        self.types("Enter")

    def resize(self, columns: int, rows: int) -> None:
        """Have another size, and wait until the program's terminal has it: tmux takes its time."""
        ran([*self._tmux, "resize-window", "-x", str(columns), "-y", str(rows)])
        tty = ran([*self._tmux, "display-message", "-p", "#{pane_tty}"]).out.strip()
        eventually(lambda: ran(["stty", "-F", tty, "size"]).out.split() == [str(rows), str(columns)], "the new size")

    def forgets(self) -> None:
        """Drop what has left the screen above."""
        ran([*self._tmux, "clear-history"])

    def kill(self) -> None:
        ran([*self._tmux, "kill-server"])


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Tmux]]:
    opened: list[Tmux] = []
    yield opened
    for one in opened:
        one.kill()


def test_a_user_from_the_first_log_in_to_the_last(box: Box, tmp_path: Path, terminals: list[Tmux]) -> None:
    assert box.admin("userconfig new bob --role operator --login password", FIRST + "\n").status == 0
    assert box.admin("commit").status == 0
    screen = Tmux(tmp_path / "t", box.ssh_words("bob"))
    terminals.append(screen)
    assert "Property of Example." in screen.sees("Password:")
    screen.line(FIRST)
    screen.sees("Old password:")
    for typed in (FIRST, SECOND, SECOND):
        screen.line(typed)
        screen.sees("Enter" if typed == FIRST else "*")
    screen.sees("Your password was changed")
    # A long output stops; space goes on, q ends; the question is gone then.
    screen.line("help")
    assert len(screen.sees("--More--").splitlines()) > 20
    screen.types("Space")
    eventually(lambda: screen.screen().count("--More--") == 1 and len(screen.screen().splitlines()) > 40)
    screen.types("q")
    eventually(lambda: "--More--" not in screen.screen(), "the end of the pages")
    # Tab completes, Ctrl-L clears, a window that becomes smaller is believed, lines come back in the next session.
    screen.types("whoa", "Tab", "Enter")
    screen.sees("Role:      operator")
    screen.types("C-l")
    screen.resize(60, 10)
    screen.line("whoami")
    screen.sees("From:      127.0.0.1")
    screen.types("C-d")
    screen.sees("closed.")
    again = Tmux(tmp_path / "u", box.ssh_words("bob"))
    terminals.append(again)
    again.sees("Password:")
    again.line(SECOND)
    assert "Last login: " in again.sees("sma.example.test>")
    again.types("Up", "Enter")
    again.sees("Role:      operator")
    history = tmp_path / "m" / "state" / "history" / "bob"
    assert (history.read_text().splitlines()[:2], history.stat().st_mode & 0o777) == (["help", "whoami"], 0o600)
    # Somebody else takes the user away.

    def logins() -> list[tuple[str, bool]]:
        rows = box.admin("last --user bob --json").document["logins"]
        return [(row["way"], bool(row["ended_at"])) for row in rows]

    eventually(lambda: logins() == [("password", False), ("password", True)], logins)
    assert [one["user"] for one in box.admin("who --json").document["sessions"]] == ["bob"]
    assert box.admin("userconfig delete bob").status == 0
    assert box.admin("commit").status == 0
    ended = ("closed.", "access was")
    eventually(lambda: any(text in again.screen() for text in ended), "the end of the session")
    file = tmp_path / "m" / "log" / "cli_logs" / "cli.current"
    eventually(lambda: "CLI bob from 127.0.0.1: access was taken away" in file.read_text())
    log = file.read_text()
    assert not any(secret in log + box.said() for secret in (FIRST, SECOND))
    assert box.admin("userconfig delete admin").status == 65


def test_a_lock_outlives_the_console_and_keys_do_not_mind(box: Box, tmp_path: Path, terminals: list[Tmux]) -> None:
    box.admin("userconfig new bob --role guest --login password --must-change no", FIRST + "\n")
    box.admin("sshconfig login --failures 3 --lock-s 300")
    assert box.admin("commit").status == 0
    screen = Tmux(tmp_path / "t", box.ssh_words("bob"))
    terminals.append(screen)
    for asked in (1, 2, 3):
        eventually(lambda asked=asked: screen.screen().count("Password:") == asked)  # type: ignore[misc]
        screen.line("guess-1234")
    screen.sees("@127.0.76.1's password:")
    box.stop()
    box.start()
    status = ran(["sh", "-c", 'exec 3</dev/null; exec "$@"', "sh", *box.ssh_words("bob"), "version"]).status
    assert status == 255

    def failed() -> tuple[str, str]:
        row = box.admin("last --failed --json").document["logins"][-1]
        return row["user"], row["reason"]

    eventually(lambda: failed() == ("bob", "wrong password"), failed, despite=(IndexError,))
    assert box.admin("userconfig unlock 127.0.0.1").out.strip() == "127.0.0.1 may log in again."
    again = Tmux(tmp_path / "u", box.ssh_words("bob"))
    terminals.append(again)
    again.sees("Password:")
    again.line(FIRST)
    assert "Failed logins since then: " in again.sees("sma.example.test>")
