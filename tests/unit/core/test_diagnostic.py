"""What is written for whoever runs the daemon."""

import os
import select
import socket
import subprocess
import sys

import pytest

from core.diagnostic import ERROR, incident, say


def test_a_line_has_its_priority_under_a_service_manager_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    say(ERROR, "plain")
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    say(ERROR, "kept")
    assert capfd.readouterr().err == "plain\n<3>kept\n"


def test_an_incident_is_found_by_its_id_with_the_place_where_it_happened(capfd: pytest.CaptureFixture[str]) -> None:
    """It said what was raised and not where: an operator could report nothing that helps."""

    def broken() -> None:
        raise LookupError("no such thing")

    try:
        broken()
    except LookupError as error:
        number = incident("listener A", error)
    said = capfd.readouterr().err
    assert said.startswith(f"listener A: incident {number}: ")
    assert "LookupError: no such thing" in said
    assert "in broken" in said


def test_a_standard_error_on_a_full_disk_stops_nobody() -> None:
    """A daemon whose stderr was a file ended with a traceback when the disk of that file was full or read-only."""
    code = "from core.diagnostic import say; say(3, 'lost'); print('goes on')"
    with open("/dev/full", "wb") as full:
        run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=False)
    assert (run.returncode, run.stdout) == (0, b"goes on\n")


def test_a_process_that_ends_with_a_fault_waits_for_the_journal_which_finds_its_unit_by_it() -> None:
    """`systemctl status` showed no word of a daemon that had ended before the journal read its line."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    script = "from core.diagnostic import say, until_read; say(3, 'why'); until_read()"
    argv = [sys.executable, "-c", script]
    with ours, theirs, subprocess.Popen(argv, stderr=theirs, env={**os.environ, "JOURNAL_STREAM": "1:2"}) as child:
        assert select.select([ours], [], [], 30)[0]
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.3)
        assert ours.recv(100) == b"<3>why\n"
        assert child.wait(30) == 0
