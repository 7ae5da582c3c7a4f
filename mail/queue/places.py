"""Where things lie under `spool/`, and content references as the index keeps them: by name, not by path.

Used by the checkpoint, the loader and the reclaimer, so that a spool that was moved elsewhere is still readable.
"""

from dataclasses import dataclass
from pathlib import Path

from core.journal import ContentRef
from core.journal.segment import CONTENT_DIRECTORY
from mail.queue.documents import crc_of
from mail.queue.message import Message, Segment
from mail.queue.store import MessageRow


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one machine's spool."""

    spool: Path

    @property
    def journals(self) -> Path:
        """One directory for each journal."""
        return self.spool / "journal"

    @property
    def queue(self) -> Path:
        """The index and the done log."""
        return self.spool / "queue"

    @property
    def content(self) -> Path:
        """Content that was moved out of the journals."""
        return self.spool / "queue" / "content"

    def pack(self, number: int) -> Path:
        """Name one file of moved content."""
        return self.content / f"{number}.content"

    def locate(self, row: MessageRow) -> ContentRef:
        """Give the reference to a row's content."""
        if not row.journal:
            directory = self.content
        elif row.kind == "file":
            directory = self.journals / row.journal / CONTENT_DIRECTORY
        else:
            directory = self.journals / row.journal
        return ContentRef(row.kind, directory / row.name, row.offset, row.length, row.crc, row.generation)


def message_row(message: Message, accepted: bytes, outcome: bytes) -> MessageRow:
    """Give the row of a message as it is now."""
    content = message.content
    return MessageRow(
        message.mid,
        message.accepted.sender,
        accepted,
        outcome,
        *message.segment,
        content.kind,
        content.path.name,
        content.offset,
        content.length,
        content.crc,
        message.review_at,
        crc_of(message.mid, accepted, outcome),
    )


def segment_of(row: MessageRow) -> Segment:
    """Name the segment that a row's content depends on."""
    return (row.journal, row.generation)
