"""Chooses the tap that follows a channel's file transfer: by the subsystem or the command that was asked for.

A command that a shell would do more with than start scp or an SFTP server is not followed but recorded as it is.
"""

import shlex

from tunnel.recording.scp import ScpTap
from tunnel.recording.sftp import SftpTap
from tunnel.recording.transfer import Note, Tap

_SHELL = frozenset(";|&$`<>()\n\\")


def tap_for(command: str | None, subsystem: str, note: Note) -> Tap | None:
    """Give the tap for a channel, or None for one that transfers no files."""
    if subsystem:
        return SftpTap(note) if subsystem == "sftp" else None
    if command is None or _SHELL & set(command):
        return None
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None
    name = program.rpartition("/")[2]
    if name in ("sftp-server", "internal-sftp"):
        return SftpTap(note)
    return _scp(words, note) if name == "scp" else None


def _scp(words: list[str], note: Note) -> Tap | None:
    letters = "".join(word[1:] for word in words if word.startswith("-") and word != "--")
    target = " ".join(word for word in words if not word.startswith("-"))
    if ("t" in letters) == ("f" in letters):
        return None
    return ScpTap(note, upload="t" in letters, target=target)
