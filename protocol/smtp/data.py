"""Content on its way in: by DATA until the lone dot, by BDAT until the count; checked, undotted, passed on.

Rules

- Content ends at CRLF . CRLF and nowhere else (RFC 5321 4.1.1.4): no other ending that some server takes for the
  end is one here.
- A dot that starts a line is removed (RFC 5321 4.5.2). A chunk of BDAT is taken as it is (RFC 3030 2).
- CR and LF occur as CRLF only (RFC 5321 2.3.8). Content that breaks this is read to its end, discarded and
  refused once with 550 5.6.11: two servers might see different messages in it. BODY=BINARYMIME has no lines
  (RFC 3030 3): nothing of it is checked but the size, and it comes in chunks only.
- The reply does not depend on how the octets were split into reads.

Theory of operation

Chunks are handled whole, with `find` and `replace`, never line by line. What could be the start of an end mark is
held back, at most four octets. The first line is at the start of a line, so the reader begins as if it held a CRLF,
and takes that off again. After a fault the sink has been discarded and only the checks go on.

The server machine owns the readers. They never raise: an error of the sink becomes the fault that is answered.
"""

from collections.abc import Callable
from typing import Final

from protocol.reply import Reply
from protocol.smtp.conversation import Sink
from protocol.smtp.parameter import TOO_LARGE

_END: Final = b"\r\n.\r\n"
_CRLF: Final = b"\r\n"
_BLANKS: Final = b"  "
"""As long as CRLF: octets are replaced in place, twice as fast as to take them out."""
_DOT: Final = b"."
BARE: Final = Reply(550, "5.6.11", "Message refused: bare CR or LF in its content")
LONG_LINE: Final = Reply(550, "5.6.0", "Message refused: a line of its content is too long")


class Intake:
    """Checks content and passes it to the sink. Gets pieces that never end between a CR and its LF."""

    __slots__ = (
        "_bare",
        "_binary",
        "_broken",
        "_incident",
        "_line",
        "_line_limit",
        "_long",
        "_size_limit",
        "octets",
        "sink",
    )

    def __init__(
        self,
        sink: Sink,
        size_limit: int,
        line_limit: int,
        incident: Callable[[Exception], Reply],
        *,
        binary: bool = False,
    ) -> None:
        self.sink = sink
        self.octets = 0
        self._size_limit = size_limit
        self._line_limit = line_limit
        self._binary = binary
        self._incident = incident
        self._line = 0
        self._bare = self._long = False
        self._broken: Reply | None = None

    @property
    def fault(self) -> Reply | None:
        """The reply that refuses the content, None when it is sound so far."""
        if self._broken is not None:
            return self._broken
        if self._bare:
            return BARE
        if self._too_large():
            return TOO_LARGE
        return LONG_LINE if self._long else None

    def take(self, piece: bytes) -> None:
        """Check the next octets and pass them on."""
        sound = self.fault is None
        self.octets += len(piece)
        if not self._binary:
            self._check_lines(piece)
        if self.fault is None:
            self._pass_on(piece)
        elif sound:
            self.sink.discard()

    def _check_lines(self, piece: bytes) -> None:
        rest = piece.replace(_CRLF, _BLANKS)
        if b"\n" in rest or b"\r" in rest:
            self._bare = True
        if self._line_limit:
            self._measure(piece)

    def abandon(self, reply: Reply) -> None:
        """Refuse the content with `reply` whatever comes."""
        self._broken = reply
        self.sink.discard()

    def _too_large(self) -> bool:
        return 0 < self._size_limit < self.octets

    def _pass_on(self, piece: bytes) -> None:
        try:
            self.sink.write(piece)
        except Exception as error:
            self.abandon(self._incident(error))

    def _measure(self, piece: bytes) -> None:
        """Look for a line over the limit, in strides of the limit instead of line by line."""
        limit, at, size = self._line_limit, -self._line, len(piece)
        while at + limit <= size:
            end = piece.rfind(b"\n", max(at, 0), at + limit)
            if end < 0:
                self._long = True
                self._line = 0
                return
            at = end + 1
        end = piece.rfind(b"\n", max(at, 0))
        self._line = size - (end + 1 if end >= 0 else at)


class DottedContent:
    """Content that ends with a lone dot."""

    __slots__ = ("_first", "_held", "intake")

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._held = _CRLF
        self._first = True

    def feed(self, data: bytes) -> bytes | None:
        """Take octets; give those after the end of the content, or None when it has not come yet."""
        window = self._held + data
        end = _find_end(window)
        if end >= 0:
            stop = end + 2
            rest = window[end + 5 :]
        else:
            stop = len(window) - _open_end(window)
            self._held = window[stop:]
            rest = None
        if stop:
            body = window[:stop]
            last = body.rfind(_DOT) + 1
            if last:
                body = body[:last].replace(b"\r\n.", _CRLF) + body[last:]
            if self._first:
                body = body[2:]
                self._first = False
            if body:
                self.intake.take(body)
        return rest


def _find_end(window: bytes) -> int:
    """Give where the end mark begins, -1 if there is none.

    It is looked for as far as there are dots: base64 holds none, and to look for one octet is ten times as fast.
    """
    ends = window.endswith(_END)
    last = window.rfind(_DOT, 0, len(window) - 3 if ends else len(window))
    found = window.find(_END, 0, last + 3)
    return len(window) - len(_END) if ends and found < 0 else found


def _open_end(window: bytes) -> int:
    """Say how many of the last octets could belong to the end mark."""
    for size in (4, 3, 2, 1):
        if window.endswith(_END[:size]):
            return size
    return 0


class CountedContent:
    """Content that comes in chunks whose size is known."""

    __slots__ = ("_held", "_left", "empty", "intake", "last")

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._held = b""
        self._left = 0
        self.last = False
        """Whether the chunk that is being read is the last."""
        self.empty = False
        """Whether it holds nothing."""

    def begin(self, octets: int, last: bool) -> None:
        """Expect a chunk."""
        self._left = octets
        self.last = last
        self.empty = not octets

    def feed(self, data: bytes) -> bytes | None:
        """Take octets; give those after the chunk, or None when it is not complete yet."""
        piece = self._held + data[: self._left]
        rest = data[self._left :]
        self._left -= len(data) - len(rest)
        complete = self._left == 0
        self._held = b""
        if piece.endswith(b"\r") and not (complete and self.last):
            self._held = b"\r"
            piece = piece[:-1]
        if piece:
            self.intake.take(piece)
        return rest if complete else None
