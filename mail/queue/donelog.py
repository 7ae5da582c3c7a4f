"""The done log: which recipients are finished, written before the next attempt of their connection.

`done-N.log` in the queue's directory, N the epoch. The settlement adds records; the checkpoint begins a new epoch
before it looks at what changed, and its transaction stores that epoch: all that older logs say is then in the
index. At start the logs from the stored epoch on are replayed over the index and over the journals' entries.

A record is 16 octets: MID, RID, CRC-32 of both. `write` makes it survive kill -9; what a power cut can take back is
what came after the last `sync`, which the checkpointer makes several times a second and before each transaction.
A log that cannot be written is `broken`: attempts stop, the records stay here and are written again by `retry`.
Logs nothing; raises `OSError` where it says so.
"""

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from core.disk import Disk
from core.killpoint import killpoint

_fields = struct.Struct("<QI")
_crc = struct.Struct("<I")
_RECORD = _fields.size + _crc.size


def encode(mid: int, rid: int) -> bytes:
    """Give one record."""
    data = _fields.pack(mid, rid)
    return data + _crc.pack(crc32(data))


def epochs(directory: Path) -> list[int]:
    """List the numbers of the logs that exist, oldest first."""
    return sorted(int(path.stem[5:]) for path in directory.glob("done-*.log") if path.stem[5:].isdigit())


def log_path(directory: Path, epoch: int) -> Path:
    """Name a log."""
    return directory / f"done-{epoch}.log"


def replay(directory: Path, epoch: int) -> dict[int, set[int]]:
    """Read the logs from `epoch` on: {mid: {rid, …}}. Torn records are passed over. Raises `OSError`."""
    done: dict[int, set[int]] = {}
    for number in epochs(directory):
        if number >= epoch:
            data = log_path(directory, number).read_bytes()
            for start in range(0, len(data) - _RECORD + 1, _RECORD):
                fields = data[start : start + _fields.size]
                if _crc.unpack_from(data, start + _fields.size)[0] == crc32(fields):
                    mid, rid = _fields.unpack(fields)
                    done.setdefault(mid, set()).add(rid)
    return done


class DoneLog:
    """The writer. One per queue."""

    def __init__(self, directory: Path, epoch: int) -> None:
        """Begin with a new log of number `epoch`. Raises `OSError`."""
        self.directory = directory
        self.epoch = epoch
        self.broken = ""
        """Why the log cannot be written, '' while it can."""
        self._file = self._create(epoch)
        self._pending = bytearray()
        """Whole records that are not written yet …"""
        self._torn = 0
        """… but for this many octets of the first."""
        self._retired: list[int] = []
        self._unsynced = False
        self._named = False
        """Whether the name of the newest log is durable."""

    def _create(self, epoch: int) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(log_path(self.directory, epoch), flags, 0o640)

    def add(self, mid: int, rids: Iterable[int]) -> None:
        """Record finished recipients; sets `broken` when they could not be written."""
        data = b"".join([encode(mid, rid) for rid in rids])
        killpoint("done.before")
        self._unsynced = True
        if self._pending:
            self._pending += data
            self.retry()
            return
        try:
            written = os.write(self._file, data)
        except OSError as error:
            written, self.broken = 0, f"the done log cannot be written: {error.strerror}"
        if written < len(data):
            self._torn = written % _RECORD
            self._pending += data[written - self._torn :]
            self.broken = self.broken or "the done log cannot be written: no space"
        killpoint("done.written")

    def retry(self) -> bool:
        """Write what could not be written before; true if the log is whole again."""
        try:
            while self._pending:
                written = self._torn + os.write(self._file, self._pending[self._torn :])
                self._torn = written % _RECORD
                del self._pending[: written - self._torn]
        except OSError as error:
            self.broken = f"the done log cannot be written: {error.strerror}"
            return False
        self.broken = ""
        return True

    def begin_epoch(self) -> int:
        """Turn to a new log and give its number. Raises `OSError`, and then nothing has changed.

        Records that could not be written to the old one go to the new one.
        """
        file = self._create(self.epoch + 1)
        self._retired.append(self._file)
        self._file = file
        self.epoch += 1
        self._torn = 0
        self._named = False
        return self.epoch

    @property
    def unsynced(self) -> bool:
        """Whether a power cut could take something back."""
        return self._unsynced

    def sync(self) -> None:
        """Make everything written so far durable; blocking, for the database's thread. Raises `OSError`."""
        self._unsynced = False
        if not self._named:
            self._named = True
            Disk().fsync_directory(self.directory)
        for file in (*self._retired, self._file):
            os.fdatasync(file)

    def retire(self, epoch: int) -> None:
        """Remove the logs before `epoch`, which the index now covers. Raises `OSError`."""
        for file in self._retired:
            os.close(file)
        self._retired.clear()
        for number in epochs(self.directory):
            if number < epoch:
                log_path(self.directory, number).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files; what is pending stays unwritten."""
        for file in (*self._retired, self._file):
            os.close(file)
        self._retired.clear()
