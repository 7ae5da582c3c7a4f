"""What this machine is, for `version` and support requests: processors, memory, system, libraries.

Reads files of the system; what is not there is None.
"""

import importlib.metadata
import os
import platform
import ssl
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Give processors, memory, disk, the system and the libraries that matter."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": _field(Path("/proc/cpuinfo"), "model name"),
        "memory_bytes": _kib(_field(Path("/proc/meminfo"), "MemTotal")),
        "system": _quoted(_field(Path("/etc/os-release"), "PRETTY_NAME", "=")),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def built_at() -> float | None:
    """Give when this version of the suite was put on the machine."""
    try:
        files = importlib.metadata.distribution("gatepost").files or ()
        return max(Path(str(one.locate())).stat().st_mtime for one in files if one.name in ("METADATA", "RECORD"))
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return None


def changed_at(path: Path) -> float | None:
    """Give when a file was last written, None if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _field(path: Path, name: str, separator: str = ":") -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, found, value = line.partition(separator)
        if found and key.strip() == name:
            return value.strip()
    return None


def _kib(text: str | None) -> int | None:
    return int(text.split()[0]) * 1024 if text else None


def _quoted(text: str | None) -> str | None:
    return text.strip('"') if text else None
