"""What stands between a connection and its greeting: who may speak for others, the name, the refusal, the delay.

A daemon root fills one `Door` per listener; the port and the connections ask it. An empty door costs an ordinary
connection three comparisons. Knows no tables: policy gives the functions.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.log.debug import InjectionDebug
from core.reverse import ReverseName, ReverseNames
from protocol.reply import Reply
from protocol.smtp.conversation import Peer

BUSY: Final = Reply(421, "4.3.1", "#4.3.1 Insufficient system resources, try again later").encode()


class Brake:
    """How much receiving is to be slowed down now, for all who share it. Set by whoever measures."""

    __slots__ = ("_held", "delay_s", "refusing")

    def __init__(self) -> None:
        self.delay_s = 0.0
        """Wait so long before a greeting and before the answer to content."""
        self.refusing = False
        """Take no mail and no connection at all."""
        self._held: dict[asyncio.TimerHandle, Callable[[], None]] = {}

    def hold(self, act: Callable[[], None]) -> None:
        """Do something `delay_s` from now."""
        handle: asyncio.TimerHandle

        def due() -> None:
            del self._held[handle]
            act()

        handle = asyncio.get_running_loop().call_later(self.delay_s, due)
        self._held[handle] = act

    def release(self) -> None:
        """Do now all that is still held."""
        while self._held:
            handle, act = self._held.popitem()
            handle.cancel()
            act()


def _nobody(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Door:
    """One listener's."""

    names: ReverseNames | None = None
    """Where a name is needed before the greeting; None = no name is looked up."""
    refuses: Callable[[Peer], bool] | None = None
    """Tells whether a peer is to be refused without a word (and logs it); None = nobody is."""
    speaks_proxy: Callable[[str], bool] | None = None
    """Tells whether a connection from an address must begin with a PROXY header; None = none has one."""
    introduces: Callable[[str], bool] = _nobody
    """Tells whether an address may use XCLIENT."""
    brake: Brake | None = None
    debug: InjectionDebug | None = None
    """Looks at connections that an injection debug log may be about; None = there is no such log."""
    reject_early_talk: bool = False
    """Refuse who speaks before the greeting with 554; else what was said waits for it."""

    async def enter(self, peer: Peer) -> Peer | None:
        """Do all that precedes the conversation; None when the peer is refused. For ports that have a task anyway."""
        if self.names is not None and not peer.name:
            peer = named(peer, await self.names.find(peer.host))
        return None if self.refuses is not None and self.refuses(peer) else peer


def named(peer: Peer, found: ReverseName) -> Peer:
    """Give the peer with its name."""
    return peer._replace(name=found.name, verified=found.verified)


OPEN: Final = Door()
