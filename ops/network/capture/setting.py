"""What is captured: interfaces, filter, size, time; and the words that tcpdump gets for it.

Kept in `state/capture.json` between captures (the model's `packetcapture setup` counts at once, without commit). The
filter is one word behind the end of options, so that nothing in it is an option, and no shell sees it. Raises
`GatepostError` 65 for settings that make no sense.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import msgspec

from core.disk import Disk, read_file, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, GatepostError
from ops.network.place import link_of

PARTS = 10
LEAST_BYTES = 64_000
MOST_BYTES = 64_000_000_000
DEFAULT_BYTES = 200_000_000
MOST_S = 7 * 86_400
ANY = "any"
_FILTER_LIMIT = 2_000
_PORTS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?")
_SIZE = re.compile(r"(\d{1,12})\s*([KMG]?)B?", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,9})\s*([smhd]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_LENGTHS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One choice of what to capture. Empty `interfaces` = all."""

    interfaces: tuple[str, ...] = ()
    ports: str = ""
    """`25` or `25,2525,8000-8100`; a predefined filter, with the two that follow."""
    client: str = ""
    server: str = ""
    custom: str = ""
    """A filter in tcpdump's syntax, in the place of the predefined ones."""
    max_bytes: int = DEFAULT_BYTES
    duration_s: int = 0
    """0 = until it is stopped or, with `until_full`, until the size is reached."""
    until_full: bool = False
    """Stop at the maximum size instead of dropping the oldest tenth."""


@dataclass(frozen=True)
class Words:
    """What tcpdump is started with."""

    interface: str
    expression: str

    def command(self, *more: str) -> list[str]:
        """Give the command line: no names, no promiscuous mode, and `more` options."""
        return ["tcpdump", "-n", "-p", "-i", self.interface, *more, "--", self.expression]


def read_size(text: str) -> int:
    """Read `200M`, `1g`, `65536`. Raises status 65."""
    found = _SIZE.fullmatch(text.strip())
    size = int(found[1]) * _UNITS[found[2].lower()] if found else 0
    if not LEAST_BYTES <= size <= MOST_BYTES:
        raise GatepostError(f"{text!r}: give a size from 64K to 64G, such as 200M", EX_DATAERR)
    return size


def show_size(value: int) -> str:
    """Give a size as `read_size` takes it, in the largest unit that is exact."""
    for unit, length in reversed(_UNITS.items()):
        if value % length == 0:
            return f"{value // length}{unit.upper()}"
    return str(value)


def read_time(text: str) -> int:
    """Read `90`, `5m`, `2h`, `1d` as seconds; 0 = no end. Raises status 65."""
    found = _TIME.fullmatch(text.strip())
    length = int(found[1]) * _LENGTHS[found[2].lower()] if found else -1
    if not 0 <= length <= MOST_S:
        raise GatepostError(f"{text!r}: give a time up to 7d, such as 30s, 5m or 2h; 0 for none", EX_DATAERR)
    return length


def tcpdump_words(setting: Setting) -> Words:
    """Check a setting and give what tcpdump gets. Raises status 65."""
    expression = _custom(setting.custom) if setting.custom else " and ".join(_predefined(setting))
    names = [link_of(one) for one in setting.interfaces]
    if len(names) <= 1:
        return Words(names[0] if names else ANY, expression)
    if ANY in names:
        raise GatepostError(f"{ANY} stands for all interfaces; give no others beside it", EX_DATAERR)
    links = " or ".join(f"ifindex {_index(name)}" for name in names)
    return Words(ANY, f"({links}) and ({expression})" if expression else links)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise GatepostError(f"there is no network interface {name}", EX_DATAERR) from None


def _custom(text: str) -> str:
    if len(text) > _FILTER_LIMIT or not text.isascii() or not text.isprintable():
        raise GatepostError(f"a filter is one line of ASCII, {_FILTER_LIMIT} characters at most", EX_DATAERR)
    return text.strip()


def _predefined(setting: Setting) -> list[str]:
    parts = []
    if setting.ports:
        parts.append("(" + " or ".join(_port(one.strip()) for one in setting.ports.split(",")) + ")")
    ends = [_host(one) for one in (setting.client, setting.server) if one]
    # A conversation has both directions: who is client and who is server does not matter to a packet.
    return parts + [f"host {address}" for address in ends]


def _port(text: str) -> str:
    if not _PORTS.fullmatch(text) or any(int(one) > 65535 for one in text.split("-")):
        raise GatepostError(f"{text!r} is no port; give 25 or 8000-8100, several with commas", EX_DATAERR)
    return f"portrange {text}" if "-" in text else f"port {text}"


def _host(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise GatepostError(f"{text!r} is no IP address", EX_DATAERR) from None


def load(folder: Path) -> Setting:
    """Read the machine's setting; the defaults where there is none, or none that can be read."""
    try:
        data = read_file(Disk(), _file(folder))
        return msgspec.json.decode(data, type=Setting) if data else Setting()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Setting()


def save(folder: Path, setting: Setting) -> None:
    """Keep a setting for the next captures. Raises status 65, and 73 when it cannot be written."""
    tcpdump_words(setting)
    try:
        _file(folder).parent.mkdir(parents=True, exist_ok=True)
        replace_file(Disk(), _file(folder), msgspec.json.encode(setting))
    except OSError as error:
        raise GatepostError(f"{_file(folder)}: cannot be written: {error.strerror}", EX_CANTCREAT) from None


def _file(folder: Path) -> Path:
    return folder / "state" / "capture.json"
