"""Follows the old SCP protocol (`scp -t`, `scp -f` as a remote command) and notes each file.

The source sends lines (`C` file, `D` and `E` directory, `T` times), the sink answers each line and each file with one
octet, or with 1 or 2 and a line if it will not have it. What the source sends before it has the answer waits, because
only the answer tells whether data or a line follows. There is no standard: this is what OpenSSH's scp speaks.
"""

import enum
import re

from tunnel.recording.transfer import Lost, Note, Stretch, shown

LINE = 8192
HELD = 64 * 1024
DIRECTORIES = 256
_FILE = re.compile(rb"([CD])[0-7]{4,6} (\d{1,19}) ([^\n]+)")
_TIMES = re.compile(rb"T\d+ \d+ \d+ \d+")


class _Turn(enum.Enum):
    """What comes next."""

    READY = "the sink's first octet"
    LINE = "a line of the source"
    ACCEPTED = "the sink's answer to a file"
    ANSWERED = "the sink's answer to another line"
    DATA = "a file's octets"
    STATUS = "the source's octet after a file"
    STORED = "the sink's answer after a file"


_SINKS_TURN = {_Turn.READY, _Turn.ACCEPTED, _Turn.ANSWERED, _Turn.STORED}


class ScpTap:
    """Follows one channel. `upload`: the engineer is the source."""

    def __init__(self, note: Note, *, upload: bool, target: str) -> None:
        self._note = note
        self._upload = upload
        self._target = target
        self._turn = _Turn.READY
        self._source = bytearray()
        self._answer = bytearray()
        self._folders: list[str] = []
        self._entering = ""
        """The folder that the sink has not accepted yet."""
        self._path = ""
        self._left = 0
        self._stretch: Stretch | None = None
        self._trouble = ""

    def sent(self, data: bytes) -> None:
        """Take what the engineer sent."""
        (self._from_source if self._upload else self._from_sink)(data)

    def came(self, data: bytes) -> None:
        """Take what the far end sent."""
        (self._from_sink if self._upload else self._from_source)(data)

    def end(self) -> None:
        """The channel is over; a file that was not finished is said to be cut."""
        if self._stretch is not None:
            self._stretch.partial = "the session ended before it did"
            self._done("cut")

    def _from_source(self, data: bytes) -> None:
        self._source += data
        self._follow()
        if len(self._source) > HELD:
            raise Lost("the source does not wait for answers")

    def _from_sink(self, data: bytes) -> None:
        self._answer += data
        while self._answer:
            if self._answer[0] == 0:
                del self._answer[:1]
                self._answered("")
            elif self._answer[0] in (1, 2):
                line, found, _ = self._answer.partition(b"\n")
                if not found:
                    if len(line) > LINE:
                        raise Lost("an answer of the sink does not end")
                    return
                del self._answer[: len(line) + 1]
                self._answered(shown(bytes(line[1:])) or "refused")
            else:
                raise Lost("the sink's answer is none")
            self._follow()

    def _answered(self, trouble: str) -> None:
        turn, self._turn = self._turn, _Turn.LINE
        if turn is _Turn.ACCEPTED:
            if trouble:
                self._done(trouble)
            else:
                self._turn = _Turn.DATA if self._left else _Turn.STATUS
        elif turn is _Turn.STORED:
            self._done(trouble or self._trouble or "ok")
        elif trouble:
            self._note("scp", {"trouble": trouble})
        elif self._entering:
            self._folders.append(self._entering)
        self._entering = ""
        if turn not in _SINKS_TURN:
            # An answer out of turn, say a disk that is full: the file goes on.
            self._turn = turn
            self._trouble = trouble

    def _follow(self) -> None:
        """Go through what the source has sent as far as it is its turn."""
        while self._source and self._turn not in _SINKS_TURN:
            if self._turn is _Turn.DATA:
                self._data()
            elif not (self._status() if self._turn is _Turn.STATUS else self._line()):
                return  # the rest of it is still to come

    def _data(self) -> None:
        piece = bytes(self._source[: self._left])
        del self._source[: len(piece)]
        self._left -= len(piece)
        if self._stretch is not None:
            self._stretch.add(self._stretch.until, piece)
        if not self._left:
            self._turn = _Turn.STATUS

    def _status(self) -> bool:
        if self._source[0] == 0:
            del self._source[:1]
        else:
            line = self._take_line()
            if line is None:
                return False
            if self._stretch is not None:
                self._stretch.partial = "the source could not read all of it"
            self._trouble = shown(line[1:])
        self._turn = _Turn.STORED
        return True

    def _line(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if line[:1] in (b"\x01", b"\x02"):
            self._note("scp", {"trouble": shown(line[1:])})
        elif (found := _FILE.fullmatch(line)) is not None:
            self._named(found[1], int(found[2]), shown(found[3]))
        elif line == b"E":
            self._folders[-1:] = []
            self._turn = _Turn.ANSWERED
        elif _TIMES.fullmatch(line):
            self._turn = _Turn.ANSWERED
        else:
            raise Lost("a line of the source is none of SCP")
        return True

    def _take_line(self) -> bytes | None:
        line, found, _ = self._source.partition(b"\n")
        if len(line) > LINE:
            raise Lost("a line of the source does not end")
        if not found:
            return None
        del self._source[: len(line) + 1]
        return bytes(line)

    def _named(self, kind: bytes, size: int, name: str) -> None:
        if kind == b"D":
            if len(self._folders) >= DIRECTORIES:
                raise Lost("too many folders inside each other")
            self._entering = name
            self._note("scp", {"op": "mkdir", "path": "/".join([*self._folders, name]), "target": self._target})
            self._turn = _Turn.ANSWERED
            return
        self._path = "/".join([*self._folders, name])
        self._left, self._stretch, self._trouble = size, Stretch(), ""
        self._note("file-open", {**self._facts, "size": size})
        self._turn = _Turn.ACCEPTED

    @property
    def _facts(self) -> dict[str, str]:
        direction = "upload" if self._upload else "download"
        return {"protocol": "scp", "direction": direction, "path": self._path, "target": self._target}

    def _done(self, status: str) -> None:
        stretch, self._stretch = self._stretch, None
        if stretch is None:
            return
        if status != "ok" and not stretch.partial:
            stretch.partial = "it was not taken"
        self._note("file-close", {**self._facts, **stretch.finished(), "status": status})
