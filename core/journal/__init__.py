"""The journal: where a message is accepted. What the rest of the suite uses of it is named here."""

from core.journal.adopt import open_free, open_orphans
from core.journal.entry import ContentRef, Entry, Position, Recovered, open_content, read_content
from core.journal.error import JournalBusy, JournalDamaged, JournalError, JournalFull, JournalUnavailable
from core.journal.journal import Journal, JournalSettings, Scanned
from core.journal.reclaim import acknowledge, acknowledged
from core.journal.tail import Tail

__all__ = [
    "ContentRef",
    "Entry",
    "Journal",
    "JournalBusy",
    "JournalDamaged",
    "JournalError",
    "JournalFull",
    "JournalSettings",
    "JournalUnavailable",
    "Position",
    "Recovered",
    "Scanned",
    "Tail",
    "acknowledge",
    "acknowledged",
    "open_content",
    "open_free",
    "open_orphans",
    "read_content",
]
