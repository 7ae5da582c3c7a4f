"""What can go wrong with a journal, as its callers need to tell it apart. A session answers 451 to the first two."""


class JournalError(Exception):
    """Any failure of a journal; the text is for the log, never for a peer."""


class JournalUnavailable(JournalError):
    """The record is not durable: a write or sync failed, or the journal is unhealthy since one did."""


class JournalFull(JournalError):
    """Refused before anything was written: the space reserve, the backlog or the size of one record."""


class JournalBusy(JournalError):
    """Another process owns this journal directory."""


class JournalDamaged(JournalError):
    """Durable octets are not what was written, or are missing."""
