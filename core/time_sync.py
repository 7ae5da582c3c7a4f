"""Whether the machine's clock is kept right, and by whom: read from the kernel and from files, nothing is started.

Used by `ntpconfig`. What cannot be read is None or missing: no answer is made up.
"""

import contextlib
import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_ERROR: Final = 5
"""TIME_ERROR of adjtimex(2): the clock is not synchronised."""
_UNSYNCHRONISED: Final = 0x40
_NANO: Final = 0x2000
_DAEMONS: Final = {
    "chronyd": "chrony",
    "systemd-timesyn": "systemd-timesyncd",
    "ntpd": "ntpd",
    "openntpd": "OpenNTPD",
    "ntpsec": "ntpd",
}
_SERVER_FILES: Final = ("etc/chrony/chrony.conf", "etc/chrony.conf", "etc/ntp.conf", "etc/ntpsec/ntp.conf")
_TIMESYNCD: Final = "etc/systemd/timesyncd.conf"


def clock_state() -> dict[str, Any]:
    """Ask the kernel (adjtimex(2), read only): `synchronized`, and the offset and error that it reckons with."""
    state: dict[str, Any] = {"synchronized": None, "offset_s": None, "estimated_error_s": None, "maximum_error_s": None}
    if struct.calcsize("l") != 8:
        return state
    buffer = ctypes.create_string_buffer(512)
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return state
    if answer < 0:
        return state
    offset, _, most, estimated, status = struct.unpack_from("@4qi", buffer.raw, 8)
    unit = 1e-9 if status & _NANO else 1e-6
    right = answer != _ERROR and not status & _UNSYNCHRONISED
    errors = {"estimated_error_s": estimated * 1e-6, "maximum_error_s": most * 1e-6} if right else {}
    return state | {"synchronized": right, "offset_s": offset * unit if right else None} | errors


def daemons(root: Path = Path("/")) -> list[str]:
    """Name the programs that keep the clock and run on this machine."""
    found = []
    for file in (root / "proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if (name := file.read_text().strip()) in _DAEMONS:
                found.append(_DAEMONS[name])
    return sorted(set(found))


def servers(root: Path = Path("/")) -> list[dict[str, str]]:
    """Name the time servers that their files speak of: `server` and the `file` it stands in."""
    found = [
        {"server": words[1], "file": f"/{name}"}
        for name in _SERVER_FILES
        for words in (line.split() for line in _lines(root / name))
        if len(words) > 1 and words[0] in ("server", "pool", "peer")
    ]
    for line in _lines(root / _TIMESYNCD):
        key, _, value = line.partition("=")
        if key.strip() in ("NTP", "FallbackNTP"):
            found += [{"server": one, "file": f"/{_TIMESYNCD}"} for one in value.split()]
    return found


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        if line.strip() and line.strip()[0] not in "#;!":
            yield line.strip()
