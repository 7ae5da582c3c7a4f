"""Who a login shell runs as, by which command, and what of the client's environment it sees."""

import os
import pwd
from pathlib import Path

import pytest

from core.errors import GatepostError
from tunnel.service.shell import ShellAccount, account, command, environment

NOBODY = ShellAccount("nobody", 65534, 65534, Path("/"), "/bin/sh", own=False)


def test_another_user_gets_no_right_of_ours() -> None:
    words = command(NOBODY)
    assert words[:4] == ["setpriv", "--reuid=65534", "--regid=65534", "--init-groups"]
    assert {"--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"} <= set(words)
    assert words[-2:] == ["/bin/sh", "-l"]


def test_only_language_and_terminal_come_from_the_client() -> None:
    asked = {
        "LANG": "de_CH.UTF-8",
        "LC_ALL": "C",
        "LD_PRELOAD": "/x",
        "PATH": "/x",
        "HOME": "/x",
        "LC_X": "$(id)",
        "IFS": "x",
    }
    found = environment(NOBODY, asked, "xterm-256color")
    assert found["LANG"] == "de_CH.UTF-8"
    assert found["LC_ALL"] == "C"
    assert found["TERM"] == "xterm-256color"
    assert found["HOME"] == "/"
    assert set(found) == {"LANG", "LC_ALL", "TERM", "PATH", "HOME", "USER", "LOGNAME", "SHELL"}
    assert environment(NOBODY, {}, "\x1b]0;x")["TERM"] == "vt100"


@pytest.mark.parametrize(("name", "status"), [("", 77), ("root", 78), ("no-such-user-here", 78)])
def test_nobody_root_and_strangers_get_no_shell(name: str, status: int) -> None:
    with pytest.raises(GatepostError) as refused:
        account(name)
    assert refused.value.status == status


def test_the_consoles_own_user_needs_no_change_of_user(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: entry.pw_uid)
    found = account("nobody")
    assert found.own
    assert command(found)[:2] == ["setpriv", "--no-new-privs"]
