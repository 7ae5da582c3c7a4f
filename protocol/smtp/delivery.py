"""One job in hand of the client machine: a delivery with what each recipient was answered, or a single command.

Only `protocol/smtp/client.py` uses it. A job is finished exactly once, by calling `done`.
"""

from collections.abc import Callable, Iterator, Mapping

from protocol.errors import PermanentFailure
from protocol.reply import Reply
from protocol.smtp.chunking import EARLY_SIZE, frame, harmless, names_recipient
from protocol.smtp.content import Encoder
from protocol.smtp.envelope import mail_line, rcpt_line
from protocol.smtp.failure import ClientFailure, ProtocolError, Stage
from protocol.smtp.transaction import Transaction, TransactionResult

BARE_NEWLINE = Reply(550, "5.6.11", "the message holds a CR or LF that is not part of a line end")


class Delivery:
    """A transaction under way. A recipient without a reply is accepted or not yet answered."""

    __slots__ = (
        "_answered",
        "_body",
        "_encoder",
        "_indexes",
        "_refused",
        "chunked",
        "content_sent",
        "distinct",
        "done",
        "result",
        "transaction",
    )

    def __init__(self, transaction: Transaction, done: Callable[[TransactionResult], None]) -> None:
        self.transaction = transaction
        self.done = done
        self.result = TransactionResult([None] * len(transaction.recipients))
        self.content_sent = False
        """The final dot or the last chunk is out."""
        self.chunked = False
        """The content goes out by BDAT."""
        self.distinct = True
        """Every recipient was accepted with an enhanced code that says so (see `chunking`)."""
        self._body: Iterator[bytes] | None = None
        self._encoder = Encoder(convert=True)
        self._indexes: list[int] = []
        self._answered = 0
        self._refused = False

    @property
    def accepted(self) -> list[int]:
        """Indexes of the recipients that the peer has not refused."""
        return [index for index in self._indexes if self.result.replies[index] is None]

    def plan(self, offers: Mapping[str, str]) -> list[bytes]:
        """Give MAIL and RCPT in order. A recipient that cannot be sent is answered here.

        Raises `PermanentFailure` if nothing can be sent to this peer.
        """
        transaction = self.transaction
        lines = [mail_line(transaction, offers)]
        reply: Reply | None = None
        dsn = transaction.dsn_rcpt if "DSN" in offers else ()
        for index, recipient in enumerate(transaction.recipients):
            try:
                lines.append(rcpt_line(recipient, transaction, dsn[index] if dsn else ""))
            except PermanentFailure as problem:
                self.result.replies[index] = reply = problem.reply
            else:
                self._indexes.append(index)
        if not self._indexes:
            raise PermanentFailure(reply or Reply(554, "5.5.1", "no recipients"))
        return lines

    def refuse(self, reply: Reply, stage: Stage) -> None:
        """Note that `reply` decides for all recipients without one."""
        self.result.replies = [reply if one is None else one for one in self.result.replies]
        if self.result.failed_stage is None:
            self.result.failed_stage = stage
        self._refused = True

    def answer_rcpt(self, reply: Reply) -> None:
        """Note the reply to the next RCPT."""
        index = self._indexes[self._answered]
        self._answered += 1
        if reply.code < 400:
            self.distinct = self.distinct and names_recipient(reply)
        elif not self._refused:
            self.result.replies[index] = reply
        if self._answered == len(self._indexes) and not self._refused and not self.accepted:
            self.result.failed_stage = Stage.RCPT

    @property
    def refused(self) -> bool:
        """Whether a reply decided for the transaction as a whole."""
        return self._refused

    @property
    def binary(self) -> bool:
        """Whether the content is not lines, so that only BDAT can carry it (RFC 3030 3)."""
        return self.transaction.body == "BINARYMIME"

    @property
    def early(self) -> bool:
        """Whether the content may go out before the envelope was answered: small, at hand, and no commands."""
        content = self.transaction.content
        size = self.transaction.size
        return isinstance(content, tuple) and 0 < size <= EARLY_SIZE and not self.binary and harmless(content)

    def begin_content(self, *, convert: bool, chunked: bool = False) -> None:
        """Open the content. `convert`: turn bare line ends into CRLF rather than refuse them."""
        self._body = iter(self.transaction.content)
        self.chunked = chunked
        self._encoder = Encoder(convert=convert, dots=not chunked)

    def read(self, limit: int) -> list[bytes]:
        """Give about `limit` octets of encoded content: a chunk with its command, or text and the final dot at its end.

        Raises `BareNewline` and whatever the content raises.
        """
        out: list[bytes] = []
        size = 0
        raw = self.chunked and self.binary
        encode = self._encoder.feed
        for chunk in self._body or ():
            data = chunk if raw else encode(chunk)
            out.append(data)
            size += len(data)
            if size >= limit:
                return frame(out, last=False) if self.chunked else out
        if not raw:
            out.append(self._encoder.finish())
        self.content_sent = True
        return frame(out, last=True) if self.chunked else out

    def answer_final(self, reply: Reply) -> None:
        """Note the reply to the content."""
        self.result.final = reply
        if reply.code < 300:
            self.result.delivered = self.accepted
            self.result.replies = [reply if one is None else one for one in self.result.replies]
        else:
            self.refuse(reply, Stage.FINAL)

    def break_off(self, error: ClientFailure, stage: Stage) -> None:
        """Note that the connection failed at `stage`, and finish."""
        result = self.result
        if isinstance(error, ProtocolError):
            # Replies of a peer that broke the protocol may belong to other commands: none of them decides.
            for index in self._indexes:
                result.replies[index] = None
            result.final = None
        if None in result.replies:
            result.error = error
            result.failed_stage = stage
            result.maybe_delivered = self.content_sent
        self.finish()

    def finish(self) -> None:
        """Hand the result over and let go of the content."""
        close = getattr(self._body if self._body is not None else self.transaction.content, "close", None)
        if close is not None:
            close()
        self._body = None
        self.done(self.result)


class Command:
    """A command outside a transaction that waits for its one reply."""

    __slots__ = ("data", "done")

    def __init__(self, data: bytes, done: Callable[[Reply | ClientFailure], None]) -> None:
        self.data = data
        self.done = done

    def break_off(self, error: ClientFailure, _stage: Stage) -> None:
        """Finish without a reply."""
        self.done(error)
