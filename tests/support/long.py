"""The two forms of the fault tests: short in every run, long where GATEPOST_LONG=1 (`make fault-long`)."""

import os
from typing import TypeVar

T = TypeVar("T")
LONG = os.environ.get("GATEPOST_LONG") == "1"


def either(short: T, long: T) -> T:
    """Choose by the form that runs."""
    return long if LONG else short
