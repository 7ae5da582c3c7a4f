"""The machine's own troubles, looked for every few minutes: folders over their quota, a full disk, certificates that
end.

One service a machine (in the console, which every machine runs). A trouble is an alert when it begins or grows, and
once a day while it lasts; what is to be done about it is part of the text. Looking blocks, so it happens in a thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core import clock
from core.alert.alerts import Alerts
from core.alert.config import DiskQuotaSection
from core.alert.kind import CRITICAL, INFO, SEVERITIES, WARNING
from core.credential import describe
from core.disk import Disk
from core.lifecycle import Scope
from core.maillog import Log, clean
from core.usage import FOLDERS, Usage, size_text, usage_of

EVERY_S: Final = 300.0
_AGAIN_S: Final = 86_400.0
_STEPS: Final = ((95, CRITICAL), (85, WARNING), (75, INFO))
_SOON_DAYS: Final = ((7, CRITICAL), (30, WARNING))
_DAY_S: Final = 86_400.0
_ADVICE: Final[Mapping[str, str]] = {
    "queue": "look at tophosts and showrecipients; deleterecipients deletes, resumedel resumes delivery",
    "quarantine": "quarantine delete deletes; a shorter retention in [[quarantine]] keeps it small",
    "logs": "delete old files, or keep fewer and smaller ones with logconfig",
    "captures": "delete captures that nobody needs any more",
    "recordings": "move old recordings to another place",
    "configuration": "delete files that were saved or exported",
}
"""What to do when one of `FOLDERS` is too large."""


@dataclass(frozen=True)
class Trouble:
    """Something that people should hear of."""

    severity: str
    kind: str
    about: str
    text: str


def disk_troubles(folder: Path, quotas: DiskQuotaSection, disk: Disk) -> list[Trouble]:
    """Compare folders with their quotas, and the file system with its size."""
    found = []
    for name, place in FOLDERS.items():
        quota = int(getattr(quotas, name))
        usage = usage_of(folder / place) if quota else Usage(0, ())
        severity = _grade(100 * usage.octets / quota) if quota else ""
        if severity:
            files = ", ".join(f"{file} ({size_text(size)})" for size, file in usage.largest)
            text = (
                f"{place} takes {size_text(usage.octets)} of the {size_text(quota)} that [disk_quota] {name} grants it."
            )
            text += f"\nThe largest: {files}.\nWhat to do: {_ADVICE[name]}."
            found.append(Trouble(severity, "DISK.QUOTA", name, text))
    free, total = disk.space(folder)
    severity = _grade(100 * (total - free) / total) if total and quotas.disk else ""
    if severity:
        sizes = sorted(((usage_of(folder / place).octets, name) for name, place in FOLDERS.items()), reverse=True)
        shown = ", ".join(f"{name} {size_text(octets)}" for octets, name in sizes if octets)
        text = (
            f"the disk of {folder} has {size_text(free)} of {size_text(total)} left. Of this machine's data: {shown}."
        )
        text += "\n" + "\n".join(f"{name}: {_ADVICE[name]}." for octets, name in sizes[:3] if octets)
        found.append(Trouble(severity, "DISK.FULL", "disk", text))
    return found


def _grade(percent: float) -> str:
    return next((severity for least, severity in _STEPS if percent >= least), "")


def certificate_troubles(files: Mapping[str, Path], now: float) -> list[Trouble]:
    """Name the certificates that end soon or have ended; who cannot be read is another one's business."""
    found = []
    for name, file in files.items():
        try:
            facts = describe(file.read_bytes())
        except (OSError, ValueError):
            continue
        left = (facts.expires_at - now) / _DAY_S
        severity = next((grade for days, grade in _SOON_DAYS if left < days), "")
        if severity:
            when = f"expires in {int(left)} days" if left >= 0 else "has expired"
            text = f"certificate {name} ({file}), for {', '.join(facts.names)}, {when}."
            text += "\nWhat to do: certconfig import, or certconfig generate for a new request, then commit."
            found.append(Trouble(severity, "TLS.CERTIFICATE_EXPIRES", name, text))
    return found


class Watch:
    """The service: `look` gives what is wrong now."""

    name = "machine watch"

    def __init__(
        self,
        alerts: Alerts,
        look: Callable[[], Iterable[Trouble]],
        log: Log,
        *,
        every_s: float = EVERY_S,
        monotonic: clock.Clock = clock.monotonic,
    ) -> None:
        self._alerts = alerts
        self._look = look
        self._log = log
        self._every_s = every_s
        self._monotonic = monotonic
        self._told: dict[tuple[str, str], tuple[str, float]] = {}

    async def run(self, scope: Scope) -> None:
        """Look until stopping."""
        scope.ready()
        while True:
            try:
                self.tell(await asyncio.to_thread(lambda: list(self._look())))
            except OSError as error:
                self._log.warning(f"The machine's folders cannot be looked at: {clean(str(error))}")
            if not await scope.pause(self._every_s):
                return

    def tell(self, troubles: list[Trouble]) -> None:
        """Send what is new, graver, or lasts for another day; forget what has passed."""
        now = self._monotonic()
        before, self._told = self._told, {}
        for one in troubles:
            key = (one.kind, one.about)
            severity, at = before.get(key, ("", now))
            graver = not severity or SEVERITIES.index(one.severity) > SEVERITIES.index(severity)
            if graver or now - at >= _AGAIN_S:
                self._alerts.send(one.severity, one.kind, one.text, about=f"{one.about} {one.severity}")
                at = now
            self._told[key] = (one.severity, at)
