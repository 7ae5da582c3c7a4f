"""The logs beside the mail log that tell what became of recipients: the bounce log and the delivery log.

The settlement calls them. The bounce log has a line for each recipient that failed or waits (behaviour 3.3), the
delivery log an XML element for each message that was delivered or failed (behaviour 3.4), on a line of the log each.
"""

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from xml.sax.saxutils import quoteattr

from core.clock import Clock
from core.clock import now as wall_now
from core.maillog import Log, clean
from mail.delivery.courier import Line, Result
from mail.queue.message import Parcel
from mail.queue.phrase import bounce_line, phrase, status

_SPECIAL = re.compile("[<>&\"'\n\r\t]")
_OK = re.compile(r"\s*(?:ok\b)?[\s:;,.!-]*(?=\S)", re.IGNORECASE)


def response(text: str) -> str:
    """Give what a host said to the content, without the blanks, punctuation and `Ok` that it begins with."""
    found = _OK.match(text)
    return clean(text[found.end() if found else 0 :].rstrip())


class OutcomeLogs:
    """The two logs of one queue; without them nothing is written."""

    def __init__(self, bounces: Log | None = None, deliveries: Log | None = None, now: Clock = wall_now) -> None:
        self._bounces = bounces
        self._deliveries = deliveries
        self._now = now

    def delivered(self, parcel: Parcel, line: Line, results: Sequence[Result]) -> None:
        """Note recipients that another host has taken."""
        if self._deliveries is not None and not _silent(self._deliveries):
            first = results[0]
            facts = {"code": str(first.code or 250), "reply": response(first.text)}
            self._element("success", parcel, line, results, facts)

    def failed(self, parcel: Parcel, line: Line | None, results: Sequence[Result]) -> None:
        """Note recipients that failed for good."""
        self._lines("Bounced", "hard", parcel, results)
        if self._deliveries is not None and not _silent(self._deliveries):
            first = results[0]
            enhanced = status("hard", first)
            reason = f"{enhanced} - {phrase(enhanced)}"
            facts = {"reason": reason, "code": f"{first.code:03d}", "error": clean(first.text)}
            self._element("bounce", parcel, line, results, facts)

    def delayed(self, parcel: Parcel, results: Sequence[Result]) -> None:
        """Note recipients that wait for another attempt."""
        self._lines("Delayed", "soft", parcel, results)

    def _lines(self, word: str, kind: str, parcel: Parcel, results: Sequence[Result]) -> None:
        if self._bounces is not None and not _silent(self._bounces):
            addresses = {one.rid: one.address for one in parcel.recipients}
            for result in results:
                self._bounces.info(bounce_line(word, kind, parcel, addresses.get(result.rid, ""), result))

    def _element(
        self, name: str, parcel: Parcel, line: Line | None, results: Sequence[Result], facts: dict[str, str]
    ) -> None:
        assert self._deliveries is not None
        accepted = parcel.message.accepted
        # One that succeeds with all recipients is not counted as an attempt before.
        attempts = parcel.attempts + (name == "success" and len(results) == len(parcel.recipients))
        addresses = {one.rid: one.address for one in parcel.recipients}
        head = {
            "del_time": _moment(self._now()),
            "inj_time": _moment(accepted.received_at),
            "bytes": str(accepted.size),
            "mid": str(parcel.mid),
            "ip": line.remote_ip if line is not None else "",
            "from": clean(accepted.sender),
            "source_ip": accepted.remote_ip,
        }
        rcpts = "".join(
            f'<rcpt rid="{one.rid}" to={_quoted(clean(addresses.get(one.rid, "")))} attempts="{attempts}"/>'
            for one in results
        )
        data = "".join(f"<header name={_quoted(key)} value={_quoted(text)}/>" for key, text in accepted.noted)
        shown = " ".join(f"{key}={_quoted(value)}" for key, value in (head | facts).items())
        self._deliveries.info(f"<{name} {shown}>{rcpts}<customer_data>{data}</customer_data></{name}>")


def _silent(log: Log) -> bool:
    return bool(getattr(log, "silent", False))


def _quoted(text: str) -> str:
    return quoteattr(text) if _SPECIAL.search(text) else f'"{text}"'


def _moment(at: float) -> str:
    """Give a time in the form of the delivery log: `Sun Nov 22 02:21:02.123 2026`."""
    before, year = _second(int(at))
    return f"{before}.{int(at * 1000) % 1000:03d} {year}"


@lru_cache(maxsize=1024)
def _second(at: int) -> tuple[str, int]:
    local = time.localtime(at)
    return time.strftime("%a %b %d %H:%M:%S", local), local.tm_year
