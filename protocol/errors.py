"""Failures that carry the reply to give: the type is the severity.

Raised by policy, journal and delivery code, answered by the SMTP server, counted by the queue. The reply is what
the peer may see; the private reason goes to the log and is never part of the reply.
This module knows no transport and no log.
"""

from protocol.reply import Reply


class MailError(Exception):
    """A failure with the reply to give (`reply`) and the private reason (`reason`, for the log only)."""

    def __init__(self, reply: Reply, reason: str = "") -> None:
        super().__init__(reason or str(reply))
        self.reply = reply
        self.reason = reason


class TemporaryFailure(MailError):
    """Try again later: the reply is 4yz."""


class PermanentFailure(MailError):
    """Do not try again: the reply is 5yz."""


def failure(reply: Reply, reason: str = "") -> MailError:
    """Make the failure whose type fits the class of `reply` (4yz temporary, else permanent)."""
    return (TemporaryFailure if reply.code < 500 else PermanentFailure)(reply, reason)
