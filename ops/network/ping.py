"""What the system's `ping` and `traceroute` are given and how their lines are read.

Only addresses that `ops/network/place.py` made and numbers come into the words, so none of them can be an option.
Pure: the commands run the programs.
"""

import re
from dataclasses import dataclass, field
from typing import Any

OCTETS = 56
HOPS = 64
PROBES = 3
_REPLY = re.compile(r"\d+ bytes from \S+ icmp_seq=(\d+) ttl=(\d+) time=([\d.]+) ms( \(DUP!\))?")
_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"(?:rtt|round-trip) min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms")
_COMPLAINT = re.compile(r"(?:\S*/)?ping: (.*)")
_HOP = re.compile(r"\s*(\d+)  (.*)")


def ping_words(address: str, source: str, count: int, wait_s: float, interval_s: float) -> list[str]:
    """Give the command line of ping; count 0 = for ever."""
    words = ["ping", "-n", "-O", "-s", str(OCTETS), "-i", f"{interval_s:g}", "-W", f"{wait_s:g}"]
    words += ["-c", str(count)] if count else []
    words += ["-I", source] if source else []
    return [*words, "--", address]


def traceroute_words(address: str, source: str, hops: int, wait_s: float) -> list[str]:
    """Give the command line of traceroute: UDP probes, 44 octets each over IPv4."""
    words = ["traceroute", "-n", "-m", str(hops), "-q", str(PROBES), "-w", f"{wait_s:g}"]
    words += ["-s", source] if source else []
    return [*words, "--", address, "64" if ":" in address else "44"]


@dataclass
class PingReading:
    """What ping has said so far."""

    replies: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    transmitted: int = 0
    received: int = 0
    times: tuple[float, float, float, float] | None = None
    complaint: str = ""
    """What ping said of itself, when it could not begin."""
    kept: int = 1000

    def read(self, line: str) -> str:
        """Take one line; gives it back if it is to be shown while ping runs."""
        if found := _REPLY.match(line):
            self.duplicates += bool(found[4])
            if len(self.replies) < self.kept and not found[4]:
                reply = {"sequence": int(found[1]), "ttl": int(found[2]), "ms": float(found[3])}
                self.replies.append(reply)
            return line
        if found := _COUNTS.search(line):
            self.transmitted, self.received = int(found[1]), int(found[2])
        elif found := _TIMES.match(line):
            self.times = (float(found[1]), float(found[2]), float(found[3]), float(found[4]))
        elif found := _COMPLAINT.match(line):
            self.complaint = found[1]
        elif line.startswith(("From ", "no answer yet")):
            return line
        return ""

    def document(self) -> dict[str, Any]:
        """Give the statistics."""
        lost = 100.0 * (self.transmitted - self.received) / self.transmitted if self.transmitted else 0.0
        names = ("min", "avg", "max", "stddev")
        return {
            "transmitted": self.transmitted,
            "received": self.received,
            "duplicates": self.duplicates,
            "loss_percent": round(lost, 1),
            "rtt_ms": dict(zip(names, self.times, strict=True)) if self.times else None,
            "replies": self.replies,
        }


def statistics(host: str, document: dict[str, Any]) -> str:
    """Show the statistics as the model does at the end."""
    more = f", +{document['duplicates']} duplicates" if document["duplicates"] else ""
    lines = [
        f"--- {host} ping statistics ---",
        f"{document['transmitted']} packets transmitted, {document['received']} packets received{more}, "
        f"{document['loss_percent']:.1f}% packet loss",
    ]
    if times := document["rtt_ms"]:
        shown = "/".join(f"{times[name]:.3f}" for name in ("min", "avg", "max", "stddev"))
        lines.append(f"round-trip min/avg/max/stddev = {shown} ms")
    return "\n".join(lines)


@dataclass(frozen=True)
class Probe:
    """One probe of a hop: who answered ('' = nobody), after how long, and the mark such as `!H`."""

    address: str
    ms: float | None
    mark: str = ""


def read_hop(line: str) -> tuple[int, list[Probe]] | None:
    """Read a line of traceroute: its number and its probes; None if it is no hop."""
    found = _HOP.fullmatch(line.rstrip())
    if found is None:
        return None
    probes: list[Probe] = []
    address, words = "", found[2].split()
    for place, word in enumerate(words):
        if word == "*":
            probes.append(Probe("", None))
        elif word == "ms":
            continue
        elif word.startswith("!") and probes:
            probes[-1] = Probe(probes[-1].address, probes[-1].ms, word)
        elif words[place + 1 : place + 2] == ["ms"] and word.replace(".", "", 1).isdecimal():
            probes.append(Probe(address, float(word)))
        else:
            address = word
    return int(found[1]), probes
