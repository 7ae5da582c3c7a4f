"""Answers to SMTP verbs that a gateway's listeners do not offer; `mail/receive.py` mixes them in."""

from typing import Final

from core.smtp.session import Answer, ExtensionAnswer
from protocol.reply import Reply

NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")


class NoFurtherVerbs:
    """Answers the questions about extension verbs, which are never asked."""

    __slots__ = ()

    def extension(self, verb: str, argument: str, answer: ExtensionAnswer) -> None:
        """Refuse the verb."""
        answer(NOT_IMPLEMENTED)

    def extension_payload(self, verb: str, payload: bytes, answer: Answer) -> None:
        """Refuse the payload."""
        answer(NOT_IMPLEMENTED)
