"""Who is told what: NOTIFY (RFC 3461 4.1), the bounce profile, and the restraint towards lists and programs (RFC 3834).

Pure decisions, used by the queue's settlement and reports.
"""

from collections.abc import Iterable
from typing import Literal

from core.record import Recipient
from mail.bounce.profile import BounceProfile
from mail.mime import Headers

Event = Literal["failed", "delayed", "relayed"]
_WORDS = {"failed": "FAILURE", "delayed": "DELAY", "relayed": "SUCCESS"}


def wants(recipient: Recipient, event: Event, profile: BounceProfile) -> bool:
    """Tell whether the sender is to be told of an event of one recipient.

    Without NOTIFY a sender is told of failures, and of delays if the profile says so (RFC 3461 4.1); what the
    profile turns off stays off whatever is asked for.
    """
    if event == "failed" and profile.hard_bounce == "off":
        return False
    if event == "delayed" and profile.delay_warnings == "off":
        return False
    if recipient.notify:
        return _WORDS[event] in recipient.notify.split(",")
    return event == "failed" or (event == "delayed" and profile.delay_warnings == "on")


def any_wants(recipients: Iterable[Recipient], event: Event, profile: BounceProfile) -> bool:
    """Tell whether anybody's sender is to be told."""
    return any(wants(one, event, profile) for one in recipients)


def is_automatic(head: bytes) -> bool:
    """Tell from a message's header whether a list or a program sent it (RFC 3834 2, RFC 2919)."""
    headers = Headers(head)
    if headers.values(b"list-id"):
        return True
    if _first_word(headers, b"precedence") in (b"bulk", b"list", b"junk"):
        return True
    return _first_word(headers, b"auto-submitted") not in (b"", b"no")


def _first_word(headers: Headers, name: bytes) -> bytes:
    values = headers.values(name)
    return values[0].split(b";")[0].strip().lower() if values else b""


def silenced(event: Event, head: bytes, profile: BounceProfile, *, asked: bool) -> bool:
    """Tell whether no report of an event is made, because a list or a program sent the message.

    `asked`: it said by NOTIFY that it wants the report, which counts unless the profile keeps quiet about everything.
    """
    if profile.automatic == "all" or (profile.automatic == "failures" and (asked or event == "failed")):
        return False
    return is_automatic(head)
