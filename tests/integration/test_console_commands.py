"""Every command without a side effect through stock OpenSSH, and dialogues through OpenSSH in a terminal of tmux."""

import fcntl
import json
import os
import re
import struct
import subprocess
import termios
from collections.abc import Iterator

import pytest

from daemons.document import every_command
from ops.cli.account import Caller, Role
from ops.cli.display import columns, unpainted
from ops.cli.registry import Command
from tests.integration.test_console_users import Tmux
from tests.support.lab import Lab, Ran, running_lab, ssh_argv
from tests.support.need import needs
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh"), needs("tmux")]
NETS = ("127.93", "127.193")
_LAST = "list print detail status settings headers listener recordings arpshow disk_usage"
LOOKING = frozenset(_LAST.split())
"""Last words of commands that only look."""
_LOOKING = (
    "commitdetail displayalerts dnsstatus help last metrics ntpconfig oldmessage sessions showchanges showconfig"
    " showrecipients tophosts topin tunnels version who whoami netstat tlsreport"
)
ALONE = frozenset(_LOOKING.split())
"""Commands of one word that only look and need nothing else."""
NEEDS = {
    "filters detail": "",
    "findevent": "mid 1",
    "grep": "nothing mail_logs",
    "hostrate": "example.test 0.1 --count 1",
    "hoststatus": "example.test",
    "nslookup": "mx.example.test",
    "rate": "0.1 --count 1",
    "sslconfig verify": "ECDHE+CHACHA20",
    "tail": "mail_logs --once",
    "workqueue rate": "1 --samples 1",
    "dig": "example.test",
}
"""What else they need to be given."""
MAY_BE_EMPTY = {"hostrate", "hoststatus", "oldmessage", "tlsreport", "commitdetail", "findevent"}
EMPTY = {64, 66, 69}
"""Statuses of a table that lacks what was asked for; `detail` of a row that is not there, no message in the queue."""
ADMINISTRATOR = Caller("admin", Role.ADMINISTRATOR)


def looks(item: Command) -> bool:
    """Tell whether a command has no side effect."""
    return item.run is not None and (item.name in NEEDS or item.name in ALONE or item.words[-1] in LOOKING)


def lines_for(role: str) -> list[str]:
    """Give the command lines that only look at a machine."""
    found = []
    for item in every_command().visible(role, ADMINISTRATOR):
        if looks(item):
            name = item.name.replace(" NAME", " InboundMail")
            needed = [one for one in item.further if one.required]
            given = NEEDS.get(item.name, " ".join("none" for _ in needed))
            found.append(f"{name} {given}".strip())
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running_lab(*NETS) as found:
        yield found


def test_the_commands_that_only_look_are_many_and_none_of_them_changes_anything() -> None:
    lines = {role: lines_for(role) for role in ("esa", "sma", "bastion")}
    assert len(lines["esa"]) > 80
    assert len(lines["sma"]) > 50
    assert len(lines["bastion"]) > 10
    changing = re.compile(r"\b(new|edit \S+$|delete|clear|import|export|move|setup$|suspend|resume|commit$|load)\b")
    assert [
        line
        for line in [*lines["esa"], *lines["sma"], *lines["bastion"]]
        if changing.search(line.removeprefix("listenerconfig edit"))
    ] == []


@pytest.mark.parametrize("role", ["esa", "sma", "bastion"])
def test_every_command_that_only_looks_gives_json_and_a_status(lab: Lab, role: str) -> None:
    wrong = []
    for line in lines_for(role):
        found = lab.ssh(role, f"{line} --json", flags=multiplexed(lab))
        try:
            good = allowed(line, found) if found.status else isinstance(json.loads(found.out), dict)
        except ValueError:
            good = False
        if not good:
            wrong.append((line, found.status, found.out[:200], found.err))
    assert wrong == []


AS_IT_IS = {"showconfig", "tail", "grep", "findevent", "metrics"}
"""What they show are lines of files, or text that programs read."""
WITHOUT_QUESTIONS = {"netstat": "listen", "showrecipients": "--limit 5", "tophosts": "conn_out"}
"""Arguments for commands that would ask on a terminal."""


@pytest.mark.parametrize("role", ["esa", "sma", "bastion"])
def test_on_a_terminal_of_80_columns_every_command_that_only_looks_fits(lab: Lab, role: str) -> None:
    wide, asked = [], 0
    for line in lines_for(role):
        if line.split()[0] in AS_IT_IS:
            continue
        found = on_a_terminal(lab, role, f"{line} {WITHOUT_QUESTIONS.get(line, '')}")
        asked += 1
        wide += [(line, one) for one in unpainted(found).splitlines() if columns(one) > 80]
    assert asked > 10
    assert wide == []


def on_a_terminal(lab: Lab, role: str, line: str) -> str:
    """Run one command with OpenSSH in a pseudo terminal of 80 by 24; gives what it shows."""
    host, _, port = str(lab.facts[role]["ssh"]).rpartition(":")
    argv = ssh_argv(str(lab.facts["admin_key"]), str(lab.facts["known_hosts"]), port)
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        done = subprocess.run(
            [*argv, *multiplexed(lab), "-tt", f"admin@{host}", line],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "internal error" not in done.stdout + done.stderr, line
    return done.stdout


def multiplexed(lab: Lab) -> list[str]:
    """Let OpenSSH keep its connection for a while: the commands come one after the other."""
    return ["-o", "ControlMaster=auto", "-o", f"ControlPath={lab.dir}/%C", "-o", "ControlPersist=20"]


def allowed(line: str, found: Ran) -> bool:
    """Tell whether a command may have nothing to show: what is not there is said in one line."""
    nothing = line.endswith(" none") or line.split(maxsplit=1)[0] in MAY_BE_EMPTY
    return nothing and found.status in EMPTY and len(found.err.splitlines()) == 1 and "internal error" not in found.err


DIALOGUES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("smtproutes", "Choose the operation"),
        ("new", "Domain of the route:"),
        ("tmux.example", "Hosts that take its mail:"),
        ("mx.tmux.example", "tmux.example was created"),
        ("", "esa"),
    ),
    (
        ("destconfig", "There "),
        ("list", "Domain"),
        ("", "esa"),
    ),
    (
        ("listenerconfig edit InboundMail limits", "concurrent connections"),
        ("77", "TCP listen queue"),
        ("", "pending until `commit`"),
    ),
    (
        ("textconfig", "There are no texts"),
        ("new", "What is the text for?"),
        ("4", "Enter the name of the text"),
        ("Legal", "on a line of its own"),
        ("Confidential.", "Confidential."),
        (".", "Legal was created"),
        ("", "esa"),
    ),
    (("aliasconfig", "There are no aliases"), ("", "esa")),
    (("interfaceconfig", "There "), ("", "esa")),
    (("bounceconfig", "Default"), ("", "esa")),
    (("logconfig", "mail_logs"), ("", "esa")),
    (("sslconfig", "Outbound SMTP method"), ("verify", "want to verify"), ("ECDHE+CHACHA20", "ECDHE-RSA"), ("", "esa")),
    (("dnsconfig", "Choose the operation"), ("", "esa")),
    (("alertconfig", "Choose the operation"), ("", "esa")),
    (("userconfig", "Choose the operation"), ("", "esa")),
    (("tophosts", "Sort results by:"), ("", "Recipient Host")),
    (("showchanges", "tmux.example"),),
    (("commit", "comment"), ("from a terminal", "for rollback?"), ("", "Changes committed")),
)
"""What is typed in a terminal, each with what the screen then shows."""


@pytest.fixture(scope="module")
def terminal(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tmux]:
    host, _, port = str(lab.facts["esa"]["ssh"]).rpartition(":")
    argv = [*ssh_argv(str(lab.facts["admin_key"]), str(lab.facts["known_hosts"]), port), "-tt", f"admin@{host}"]
    made = Tmux(lab.dir / "t", argv)
    try:
        made.sees("test>")
        yield made
    finally:
        made.kill()


def cleared(terminal: Tmux) -> None:
    """Begin with an empty screen at the main prompt: what stood there must not be taken for an answer."""
    terminal.types("C-l")

    def alone() -> bool:
        terminal.forgets()
        return bool(re.fullmatch(r"\S+test>", terminal.screen().strip()))

    eventually(alone, terminal.screen)


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue[0][0].replace(" ", "-"))
def test_a_dialogue_in_a_terminal(terminal: Tmux, dialogue: tuple[tuple[str, str], ...]) -> None:
    cleared(terminal)
    for typed, shown in dialogue:
        terminal.line(typed)
        terminal.sees(shown)
    eventually(lambda: terminal.screen().rstrip().endswith("test>"), "the main prompt after the dialogue")
    assert "internal error" not in terminal.screen()


def test_keys_in_a_terminal(lab: Lab, terminal: Tmux) -> None:
    terminal.types("C-c")
    cleared(terminal)
    terminal.line("smtproutes")
    terminal.sees("Choose the operation")
    terminal.types("C-c", "whoa", "Tab", "Enter")  # all at once: what comes after Ctrl-C is for the main prompt
    assert "whoami" in terminal.sees("Role:      administrator")
    cleared(terminal)
    terminal.types("Up", "Enter")
    terminal.sees("Role:      administrator")
    cleared(terminal)
    terminal.line("smtproutes")
    terminal.sees("Choose the operation")
    terminal.types("pri", "Tab", "Enter")
    terminal.sees("[]> PRINT")
    terminal.types("C-c")
    cleared(terminal)
    whole = lab.ssh("esa", "help netstat").out
    assert max(len(line) for line in whole.splitlines()) > 60
    try:
        terminal.resize(60, 40)
        terminal.line("help netstat")
        terminal.sees("Roles:")
        # No word is broken at the edge of the screen.
        eventually(lambda: set(whole.split()) <= set(terminal.screen().split()), terminal.screen)
    finally:
        terminal.resize(80, 24)
