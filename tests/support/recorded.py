"""A finished, signed recording in a machine's directory, for whoever reads recordings."""

from pathlib import Path

import asyncssh

from core import ssh
from tunnel.audit import AuditLog
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import signer_of
from tunnel.recording.subject import Subject


class Recorded:
    """A directory with `recordings/` and `log/audit.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key: asyncssh.SSHKey = ssh.make_key()
        self.log = folder / "log" / "audit.jsonl"

    async def make(self, session: str = "s1", *, finished: bool = True, killed: bool = True) -> Path:
        """Record a little session with a terminal; if it is not finished its recorder was killed, or still runs."""
        audit = AuditLog(self.log)
        recorder = Recorder(self.folder / "recordings", audit, signer=signer_of(self.key))
        subject = Subject(
            session=session,
            serial="sn-1",
            case="SR1",
            engineer="ana",
            key_id="ana@SR1#0",
            term_type="xterm",
            term_size=(80, 24, 0, 0),
        )
        recording = recorder.open(subject)
        for word in ("esa (SERVICE)> ", "version\r\n", "\x1b[31mGatepost\x1b[0m grüß ", "\x1b]0;title\x07!\r\n"):
            recording.output(word.encode())
            await recorder.flush()
        recording.output(b"\xff\xfe not text\r\n")
        recording.marker("signal", signal="INT")
        if finished:
            recording.finish(status=0)
        await recorder.flush()
        await recorder.seal()
        audit.close()
        if not finished and killed:
            for file in recorder._files.values():
                file.close()
        assert recording.path is not None
        self.recorder = recorder
        return recording.path

    @property
    def public(self) -> str:
        """The public half of the key that signed."""
        return ssh.public_text(self.key)
