"""Delivery results in the words of the mail log and of bounces: RFC 3463 classes and the model's phrases.

Pure text, used by the settlement and the reports. Source: behaviour 3.2 (Delivery) and 4.5.
"""

from core.maillog import clean
from mail.delivery.courier import Job, Result

_PHRASES = {
    "1.0": "Unknown address error",
    "1.1": "Bad destination email address",
    "1.2": "Bad destination host",
    "1.3": "Bad destination email address syntax",
    "1.6": "Mailbox has moved",
    "2.0": "Unknown mailbox problem",
    "2.1": "Mailbox disabled",
    "2.2": "Mailbox full",
    "2.3": "Message too large for mailbox",
    "3.0": "Unknown mail system problem",
    "3.1": "Mail system full",
    "3.2": "Mail system not accepting messages",
    "3.4": "Message too big",
    "4.0": "Other network problem",
    "4.1": "No answer from host",
    "4.2": "Bad connection",
    "4.3": "Directory server failure",
    "4.4": "Unable to route",
    "4.6": "Routing loop",
    "4.7": "Delivery time expired",
    "5.0": "Unknown protocol problem",
    "5.2": "Syntax error",
    "5.3": "Too many recipients",
    "6.0": "Unknown content problem",
    "7.0": "Unknown security problem",
    "7.1": "Message refused",
}
_CLASSES = {
    "1": "Unknown address error",
    "2": "Unknown mailbox problem",
    "3": "Unknown mail system problem",
    "4": "Other network problem",
    "5": "Unknown protocol problem",
    "6": "Unknown content problem",
    "7": "Unknown security problem",
}
EXPIRED = ("5.4.7", "Delivery expired (message too old)")
FILTERED = ("5.7.1", "bounced by a message filter")
UNSUBSCRIBED = ("5.7.1", "The recipient takes no mail from this system (global unsubscribe)")
OPERATOR = ("5.7.1", "The message was returned by an administrator")


def status(kind: str, result: Result) -> str:
    """Give the enhanced code to show: the peer's if it fits, else `x.1.0` for a reply and `x.4.0` for none."""
    first = "4" if kind == "soft" else "5"
    if result.enhanced.startswith(first):
        return result.enhanced
    return f"{first}.1.0" if result.code else f"{first}.4.0"


def phrase(enhanced: str) -> str:
    """Name a code: `5.1.1` is `Bad destination email address`."""
    detail = enhanced.partition(".")[2]
    return _PHRASES.get(detail) or _CLASSES.get(detail.partition(".")[0], "Other undefined status")


def detail(result: Result) -> str:
    """Give the tail of a `Delayed` or `Bounced` line: `('550', ['no such user']) []`."""
    return f"('{result.code:03d}', ['{clean(result.text)}']) []"


def bounce_line(word: str, kind: str, job: Job, address: str, result: Result) -> str:
    """Give a line of the bounce log (behaviour 3.3)."""
    enhanced = status(kind, result)
    return (
        f"{word}: {job.mid}:{result.rid} From:<{clean(job.sender)}> To:<{clean(address)}>"
        f" Reason: \"{enhanced} - {phrase(enhanced)}\" Response: \"('{result.code:03d}', ['{clean(result.text)}'])\""
    )


def reply_text(result: Result) -> str:
    """Give a reply in one line, as people read it: `550 5.1.1 no such user`."""
    parts = [f"{result.code:03d}" if result.code else "", result.enhanced, result.text]
    return clean(" ".join(part for part in parts if part))


def rid_list(rids: list[int]) -> str:
    """Give `[0, 1]`."""
    return f"[{rids[0]}]" if len(rids) == 1 else f"[{', '.join(map(str, rids))}]"
