"""What arrived at the lab's outside mail host, read back from its Maildir."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Arrival:
    """One transaction that the mail host stored."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Maildir:
    """Reads each file once; `arrivals` grows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "new"
        self._seen: set[str] = set()
        self.arrivals: list[Arrival] = []

    def refresh(self) -> list[Arrival]:
        """Read what is new and give everything that has arrived so far."""
        for file in sorted(self._folder.iterdir()):
            if file.name not in self._seen:
                self._seen.add(file.name)
                self.arrivals.append(_read(file.read_bytes()))
        return self.arrivals


def _read(stored: bytes) -> Arrival:
    sender, recipients, content = stored.split(b"\r\n", 2)
    names = recipients.decode().removeprefix("X-RcptTo:").split(",")
    return Arrival(sender.decode().removeprefix("X-MailFrom:").strip(), tuple(name.strip() for name in names), content)
