"""Stands in for `ssh` in stock scp and sftp: runs the far end's command here, with a tap on what passes.

Arguments are ssh's; `GATEPOST_NOTES` names the file that gets the notes, one JSON line each.
"""

import json
import os
import subprocess
import sys
import threading
from typing import Any

from tunnel.recording.tap import tap_for
from tunnel.recording.transfer import Lost

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
WITH_VALUE = ["-o", "-p", "-l", "-i", "-F", "-J", "-c", "-P"]


def _asked(words: list[str]) -> str | None:
    """Give the command, or None for the subsystem sftp."""
    rest: list[str] = []
    subsystem = False
    while words:
        word = words.pop(0)
        if word in WITH_VALUE:
            words.pop(0)
        elif word == "-s":
            subsystem = True
        elif not word.startswith("-") or rest:
            rest.append(word)
    return None if subsystem else " ".join(rest[1:])


def main() -> None:
    command = _asked(sys.argv[1:])
    notes = open(os.environ["GATEPOST_NOTES"], "a", buffering=1)  # noqa: SIM115

    def note(kind: str, facts: dict[str, Any]) -> None:
        notes.write(json.dumps({"kind": kind, **facts}) + "\n")

    tap = tap_for(command, "" if command else "sftp", note)
    assert tap is not None, sys.argv
    far = subprocess.Popen(command or SFTP_SERVER, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lock = threading.Lock()

    def pump(source: int, sink: int, take: str) -> None:
        while data := os.read(source, 65536):
            with lock:
                try:
                    getattr(tap, take)(data)
                except Lost as lost:
                    notes.write(json.dumps({"kind": "lost", "why": str(lost)}) + "\n")
            view = memoryview(data)
            while view:
                view = view[os.write(sink, view) :]
        os.close(sink)

    assert far.stdin is not None
    assert far.stdout is not None
    up = threading.Thread(target=pump, args=(0, far.stdin.fileno(), "sent"), daemon=True)
    up.start()
    pump(far.stdout.fileno(), 1, "came")
    status = far.wait()
    tap.end()
    os._exit(status)


if __name__ == "__main__":
    main()
