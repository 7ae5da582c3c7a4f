"""What a journal knows of transfers at the start of its owner: the ids that a crash kept out of the databases.

Handed to `Journal.open` by the roots, because it has to look before the first segment can be recycled: what the
delivery queue has finished with is gone soon afterwards. Pure.
"""

from core.clock import Clock, now
from core.journal import Scanned
from core.record import RELEASE_HOST, Accepted, decode_accepted, decode_outcome
from cpq.exchange.store import TakenId


class SeenTransfers:
    """Collects transfer ids while a journal is scanned."""

    def __init__(self, clock: Clock = now) -> None:
        self.taken: list[TakenId] = []
        """Messages that came over the channel (a gateway's cpq-listener)."""
        self.handed_over: set[bytes] = set()
        """Messages that are on their way back (release-host)."""
        self._clock = clock

    def see(self, scanned: Scanned) -> None:
        """Look at one record."""
        if scanned.accepted:
            accepted = decode_accepted(scanned.accepted)
            if accepted.transfer is not None:
                self.taken.append(taken_id(accepted, self._clock()))
        if scanned.outcome:
            outcome = decode_outcome(scanned.outcome)
            if outcome.destination == RELEASE_HOST:
                self.handed_over.add(outcome.transfer_id)


def taken_id(accepted: Accepted, at: float) -> TakenId:
    """Give what is remembered of a message that came over the channel."""
    transfer = accepted.transfer
    assert transfer is not None
    return TakenId(transfer.transfer_id, transfer.peer_serial, accepted.mid, accepted.size, transfer.sha256, at)
