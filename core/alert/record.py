"""The machine's memory of alerts: each one that was sent or left out, and what became of it, in a bounded file.

Every daemon's `Alerts` appends to the same file, a JSON document a line, under a lock and synced; `displayalerts` reads
it. At 1 MiB it becomes the former file, which is read too and then replaced. A line that a crash cut is passed over.
Raises `OSError` to the writer only.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from core.disk import Disk

FILE: Final = "alerts.log"
FORMER: Final = "alerts.former"
LARGEST: Final = 1 << 20
SENT: Final = "sent"
SUPPRESSED: Final = "suppressed"


class Alert(msgspec.Struct, frozen=True, tag="alert", omit_defaults=True):
    """One alert; `why` it was left out, and how many `times` in a row."""

    id: str
    at: float
    daemon: str
    alert_class: str
    severity: str
    kind: str
    text: str
    recipients: tuple[str, ...] = ()
    why: str = ""
    times: int = 1


class Delivery(msgspec.Struct, frozen=True, tag="delivery", omit_defaults=True):
    """What became of an alert at one recipient; `reason` '' = delivered."""

    id: str
    at: float
    recipient: str
    reason: str = ""


Record = Alert | Delivery
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Alert | Delivery)


class AlertRecords:
    """The file of one machine."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()

    def append(self, records: Iterable[Record]) -> None:
        """Add records durably; blocks for the sync. Raises `OSError`."""
        data = b"".join(_ENCODER.encode(one) + b"\n" for one in records)
        self._disk.make_directory(self._folder)
        lock = self._disk.lock(self._folder / "lock", wait=True)
        try:
            self._write(data)
        finally:
            self._disk.close(lock)

    def _write(self, data: bytes) -> None:
        path, disk = self._folder / FILE, self._disk
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size + len(data) > LARGEST:
                disk.rename(path, self._folder / FORMER)
        new = not path.exists()
        fd = disk.open(path, create=new, write=True)
        try:
            size = disk.size(fd)
            whole = not size or disk.read(fd, 1, size - 1) == b"\n"
            disk.write(fd, (data if whole else b"\n" + data,), size)
            disk.fdatasync(fd)
        finally:
            disk.close(fd)
        if new:
            disk.fsync_directory(self._folder)

    def last(self, count: int) -> list[dict[str, Any]]:
        """Give the last alerts, the latest first, each with what is known of its deliveries; blocks for the reading."""
        alerts: dict[str, dict[str, Any]] = {}
        for one in self._all():
            if isinstance(one, Alert):
                alerts[one.id] = _shown(one)
            elif one.id in alerts:
                to = alerts[one.id]["recipients"]
                state: dict[str, Any] = {"address": one.recipient, "state": "failed" if one.reason else "delivered"}
                state |= {"reason": one.reason, "at": one.at}
                to[:] = [state if row["address"] == one.recipient else row for row in to]
        latest = sorted(alerts.values(), key=lambda row: row["at"])
        return latest[::-1][:count]

    def _all(self) -> Iterator[Record]:
        for name in (FORMER, FILE):
            try:
                with open(self._folder / name, "rb") as file:
                    data = file.read(os.fstat(file.fileno()).st_size)
            except FileNotFoundError:
                continue
            for line in data.splitlines():
                with contextlib.suppress(msgspec.MsgspecError):
                    yield _DECODER.decode(line)


def _shown(one: Alert) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": one.at,
        "daemon": one.daemon,
        "class": one.alert_class,
        "severity": one.severity,
        "alert": one.kind,
        "text": one.text,
        "state": SUPPRESSED if one.why else SENT,
        "reason": one.why,
        "times": one.times,
        "recipients": [{"address": to, "state": "being sent", "reason": "", "at": one.at} for to in one.recipients],
    }
