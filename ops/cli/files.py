"""A channel of the console that may also be one of files: SFTP for administrators.

The composition root hands in what serves files (`tunnel/` has it, support uses the same): three folders of the
machine, no way out of them. Without that, and for everybody else, the subsystem is refused.
"""

from collections.abc import Callable
from typing import Any

import asyncssh

from ops.cli.account import Caller, Role
from ops.cli.channel import Channel

SFTP = "sftp"
Files = Callable[[Caller], asyncssh.SSHServerSession[bytes]]
"""Makes the session that serves files to a caller."""


class FilesOrChannel(Channel):
    """A channel as any other until the client asks for files."""

    def __init__(self, *words: Any, files: Files | None, **more: Any) -> None:
        super().__init__(*words, **more)
        self._files = files
        self._front: asyncssh.SSHServerSession[bytes] | None = None

    def subsystem_requested(self, subsystem: str) -> bool:
        caller = self._caller
        whole = caller.role is Role.ADMINISTRATOR and caller.commands is None
        allowed = whole and not (caller.grant.must_change or caller.grant.revoked)
        if subsystem != SFTP or self._files is None or not allowed:
            self._executor.refused(caller, f"(subsystem {subsystem[:40]})")
            return False
        self._front = self._files(caller)
        return True

    def session_started(self) -> None:
        if self._front is None:
            super().session_started()
            return
        assert self._chan is not None
        self._executor.note(self._caller, "file session opened")
        self._front.connection_made(self._chan)
        self._front.session_started()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._front is None:
            super().data_received(data, datatype)
        else:
            self._front.data_received(data, datatype)

    def eof_received(self) -> bool:
        return super().eof_received() if self._front is None else bool(self._front.eof_received())

    def pause_writing(self) -> None:
        if self._front is None:
            super().pause_writing()
        else:
            self._front.pause_writing()

    def resume_writing(self) -> None:
        if self._front is None:
            super().resume_writing()
        else:
            self._front.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        front, self._front = self._front, None
        if front is not None:
            front.connection_lost(exc)
            self._executor.note(self._caller, "file session closed")
        super().connection_lost(exc)
