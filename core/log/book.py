"""The logs of one process: which writers it has opened, and how they follow a changed configuration.

A daemon's `Machine` holds one. Writers are asked for by what is logged, not by subscription: several subscriptions
of one type are written by one writer, and one that no subscription is for costs a comparison a line.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from core.log.detail import Details
from core.log.file import LogFile
from core.log.sink import Sink
from core.log.subscription import ERROR, MAIL, SYSTEM, Subscription
from core.maillog import WARNING, MailLog

_ALSO = {MAIL: ERROR, SYSTEM: ERROR}
"""What is logged goes to subscriptions of this type, too."""


class Logs:
    """See the module."""

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        head: str,
        *,
        key: Path,
        details: Details | None = None,
    ) -> None:
        """`key` is the file of the key that this machine logs in with where it sends saved files."""
        self.details = details or Details()
        self.key = key
        self.lock = Lock()
        """For a log that several threads write: a commit runs in one of its own."""
        self._subscriptions = tuple(subscriptions)
        self._head = head
        self._opened: dict[str, MailLog] = {}
        self._followers: list[Callable[[], None]] = []

    def all(self) -> Sequence[Subscription]:
        """Give the subscriptions that are in force."""
        return self._subscriptions

    def open(self, kind: str) -> MailLog:
        """Give this process's writer of a type of log."""
        if kind not in self._opened:
            self._opened[kind] = MailLog.over(self._sinks(kind), f"{kind} log")
            self._opened[kind].details = self.details
        return self._opened[kind]

    def alone(self, subscription: Subscription) -> MailLog:
        """Make a writer of one subscription."""
        return MailLog.over([self._sink(subscription, subscription.level)], subscription.name)

    def follow(self, subscriptions: Sequence[Subscription], details: Details | None = None) -> None:
        """Write by these from now on."""
        if details is not None:
            self.details.follow(details)
        if tuple(subscriptions) == self._subscriptions:
            return
        self._subscriptions = tuple(subscriptions)
        for kind, log in self._opened.items():
            log.follow(self._sinks(kind))
        for follower in self._followers:
            follower()

    def when_changed(self, call: Callable[[], None]) -> None:
        """Have `call` made after each change of the subscriptions."""
        self._followers.append(call)

    def _sinks(self, kind: str) -> list[Sink]:
        found = [self._sink(one, one.level) for one in self._subscriptions if one.type == kind]
        also = _ALSO.get(kind)
        return found + [self._sink(one, min(one.level, WARNING)) for one in self._subscriptions if one.type == also]

    def file_of(self, one: Subscription) -> LogFile:
        """Give a hold on the file of a subscription."""
        return LogFile(one.path, head=self._head, max_bytes=one.max_bytes, keep=one.keep)

    def _sink(self, one: Subscription, level: int) -> Sink:
        return Sink(self.file_of(one), level)
