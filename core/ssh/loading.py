"""Loads asyncssh before anything else here does, without its search for C libraries.

asyncssh asks `ctypes.util.find_library` for nettle (UMAC) and liboqs (sntrup761, and ML-KEM where OpenSSL has none).
We offer neither (`option`), and the search runs ldconfig, gcc and ld where they are installed, ten processes at the
start of each daemon and command.
"""

import ctypes.util


def _found_none(name: str) -> str | None:
    return None


_find_library = ctypes.util.find_library
ctypes.util.find_library = _found_none
try:
    import asyncssh  # noqa: F401
finally:
    ctypes.util.find_library = _find_library
