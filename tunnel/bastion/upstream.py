"""The appliance's side of a terminated session: what it says goes to the recording and to the engineer.

Used by `relay.py` alone. Its login on the appliance serves this one session and ends with it.
"""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncssh

from core.diagnostic import incident
from tunnel.bastion.reach import Reached
from tunnel.identity import SESSION_ENDED

if TYPE_CHECKING:
    from tunnel.bastion.relay import Down

F = TypeVar("F", bound=Callable[..., Any])


def guarded(method: F) -> F:
    """Make a callback that ends its own session, with an incident in the log, where it would have raised."""

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception as error:  # one session never takes its siblings down
            self.crashed(incident("relayed session", error))
            return False

    return cast(F, call)


class Up(asyncssh.SSHClientSession[bytes]):
    """What asyncssh sees of the appliance."""

    chan: asyncssh.SSHClientChannel[bytes]

    def __init__(self, down: "Down", reached: Reached) -> None:
        self._down = down
        self._reached = reached
        self._end: Callable[[], None] | None = None
        self._held: set[str] = set()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.chan = chan

    @guarded
    def session_started(self) -> None:
        self._down.joined(self)

    @guarded
    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._down.recording is not None:
            self._down.recording.output(data, datatype)
        if not self._down.chan.is_closing():
            self._down.chan.write(data, datatype)

    @guarded
    def eof_received(self) -> bool:
        if not self._down.chan.is_closing():
            self._down.chan.write_eof()
        return True

    @guarded
    def pause_writing(self) -> None:
        self._down.chan.pause_reading()

    @guarded
    def resume_writing(self) -> None:
        self._down.chan.resume_reading()

    def exit_status_received(self, status: int) -> None:
        # It overtakes output that is still held back: the session ends when the channel does.
        self._end = lambda: self._down.end(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._end = lambda: self._down.end_by_signal(signal, core_dumped, msg)

    @guarded
    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end()
        elif exc is not None:
            self._down.mark("gap", why="the connection to the appliance was lost")
            self._down.end(255, "the connection to the appliance was lost")
        else:
            self._down.end(255)
        self._reached.abort()

    def hold(self, who: str, on: bool) -> None:
        """Pause the appliance's output while the engineer's end or the disk is slow; both have to be free again."""
        before = bool(self._held)
        self._held = self._held | {who} if on else self._held - {who}
        if before is not bool(self._held):
            (self.chan.pause_reading if self._held else self.chan.resume_reading)()

    def crashed(self, number: str) -> None:
        """End the session after an error of our own."""
        self._down.crashed(number)
        self._reached.abort()

    def leave(self, *, ended: bool) -> None:
        """The engineer has gone: hang up. A session that was `ended` here is not kept there for coming back."""
        if ended:
            with suppress(OSError):  # it may have gone by itself
                self.chan.send_signal(SESSION_ENDED)
        self.chan.close()
        self._reached.close()
