"""How an SSH connection can fail, split by what the operator has to do about it.

Raised by `core/ssh/client.py`; each is a `GatepostError` with one line and a sysexits status.
"""

from core.errors import EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError

EX_PROTOCOL = 76


class SshError(GatepostError):
    """Something in a conversation over SSH failed."""


class SshRefused(SshError):
    """Nobody answers there, or the name does not resolve."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_UNAVAILABLE)


class SshTimeout(SshError):
    """The other side did not answer in time."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_TEMPFAIL)


class SshHostKeyChanged(SshError):
    """The other side showed a host key that is not the one pinned; nothing was sent to it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_PROTOCOL)


class SshAuthFailed(SshError):
    """The other side did not take our key or password."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_NOPERM)


class SshBroken(SshError):
    """The connection ended in the middle of something, or what answers does not speak SSH."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_TEMPFAIL)
