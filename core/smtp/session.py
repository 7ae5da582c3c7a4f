"""The session of an SMTP connection, bound to this suite's content sink.

Policy code implements `Session` (mail, quarantine channel, aiosmtpd handlers); the listener makes one per
connection with the factory it was given. The rules of each method stand in `protocol/smtp/conversation.py`.
"""

from collections.abc import Callable
from typing import Any

from protocol.smtp.conversation import (
    Answer,
    Challenge,
    Collect,
    CommandSession,
    ExtensionAnswer,
    ExtensionSession,
    Later,
    LoginSession,
    Peer,
    SelectiveSession,
    Session,
    Sink,
    TlsInfo,
)

SessionFactory = Callable[[], Session[Any]]

__all__ = [
    "Answer",
    "Challenge",
    "Collect",
    "CommandSession",
    "ExtensionAnswer",
    "ExtensionSession",
    "Later",
    "LoginSession",
    "Peer",
    "SelectiveSession",
    "Session",
    "SessionFactory",
    "Sink",
    "TlsInfo",
]
