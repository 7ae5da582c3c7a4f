"""Which bounce profile a parcel has: a filter's choice, else the destination's, else the listener's, else Default.

Used by the scheduler, the settlement and the reports. Mail for a pseudo host (the quarantine channel) has that host's
profile and no other. A name that the configuration no longer has counts as not chosen.
"""

from collections.abc import Callable, Mapping

from mail.bounce.profile import BounceProfile
from mail.queue.message import Parcel


class Profiles:
    """The profiles of a machine."""

    def __init__(
        self, named: Mapping[str, BounceProfile], destination: Callable[[tuple[str, str]], BounceProfile]
    ) -> None:
        """`named` is by lower case name; `destination` gives that of a destination, `implied` if nobody chose it."""
        self._named: dict[str, BounceProfile] = {}
        self._destination = destination
        self.replace(named)

    def replace(self, named: Mapping[str, BounceProfile]) -> None:
        """Take other profiles."""
        self._named = {name.lower(): profile for name, profile in named.items()}

    def of(self, parcel: Parcel) -> BounceProfile:
        """Give the profile that a parcel has."""
        message = parcel.message
        own = self._destination(parcel.destination)
        chosen = message.outcome.bounce_profile
        if message.outcome.destination:
            return own
        if chosen and (found := self._named.get(chosen.lower())) is not None:
            return found
        listener = message.accepted.bounce_profile
        if listener and own.implied:
            return self._named.get(listener.lower(), own)
        return own
