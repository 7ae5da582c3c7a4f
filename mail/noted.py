"""What the mail log says of a message's header fields when it comes, and which of them are kept to be said again.

Called once a message by the receiving session. Which fields: `[log]` of the configuration.
"""

from core.maillog import MailLog, clean
from mail.mime import Headers, decode_words

_LONGEST = 200
_CUT_OFF = {
    "Timed out waiting for successful message injection": "no messages injected within timeout period",
    "Timeout exceeded": "timeout exceeded",
    "Exceeded allowable connection time": "exceeded allowable connection time",
}
"""What a session that is ended for the clock was told, and the log's words for it."""


def cut_off(reason: str) -> str:
    """Give the words for a connection that took too long, '' for others."""
    return next((words for said, words in _CUT_OFF.items() if said in reason), "")


def note_headers(log: MailLog, mid: int, headers: Headers) -> tuple[str, list[tuple[str, str]]]:
    """Log Message-ID and Subject; give the subject as it is shown, and the fields for `Message done`."""
    details = log.details
    subject = clean(decode_words(headers.first(b"subject")))
    if details.message_id and (message_id := headers.first(b"message-id")):
        log.info(f"MID {mid} Message-ID '{clean(message_id.decode('utf-8', 'replace'))}'")
    if details.subject:
        log.info(f'MID {mid} Subject "{subject}"')
    return subject, [*_wanted(details.headers, headers)] if details.headers else []


def _wanted(names: tuple[str, ...], headers: Headers) -> list[tuple[str, str]]:
    found = []
    for name in names:
        value = headers.first(name.lower().encode())
        if value:
            found.append((name, clean(decode_words(value), _LONGEST)))
    return found
