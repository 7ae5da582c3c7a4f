"""How many reports are made: a cap for each sender domain and one over all, against backscatter.

A forged sender gets what others' mail earned. Each cap is a bucket that holds an hour's worth and fills evenly. Used
by the queue's reports, which log and count what is capped.
"""

from collections.abc import Callable

MOST_DOMAINS = 50_000


class _Bucket:
    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at

    def fill(self, per_hour: int, now: float) -> None:
        self.left = min(per_hour, self.left + max(0.0, now - self.at) * per_hour / 3600)
        self.at = now


class Cap:
    """Counts reports."""

    def __init__(self, per_hour: int, per_domain_per_hour: int, now: Callable[[], float]) -> None:
        """0 = no limit; `now` may be any clock that only goes forward."""
        self._per_hour = per_hour
        self._per_domain = per_domain_per_hour
        self._now = now
        self._all = _Bucket(per_hour, now())
        self._domains: dict[str, _Bucket] = {}

    def take(self, address: str) -> str:
        """Count one report to an address; gives '' or why it may not be sent."""
        now = self._now()
        bucket = self._bucket(address.rpartition("@")[2].lower(), now)
        self._all.fill(self._per_hour, now)
        if self._per_domain and bucket.left < 1:
            return f"more than {self._per_domain} reports an hour to its domain"
        if self._per_hour and self._all.left < 1:
            return f"more than {self._per_hour} reports an hour"
        bucket.left -= 1
        self._all.left -= 1
        return ""

    def _bucket(self, domain: str, now: float) -> _Bucket:
        bucket = self._domains.pop(domain, None)
        if bucket is None:
            bucket = _Bucket(self._per_domain, now)
            while len(self._domains) >= MOST_DOMAINS:
                del self._domains[next(iter(self._domains))]
        else:
            bucket.fill(self._per_domain, now)
        self._domains[domain] = bucket  # the least recently used are the first to go
        return bucket
