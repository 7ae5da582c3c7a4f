"""What a test needs of the machine that it runs on: programs of other packages, and what the machine must allow.

Programs come from `tests/setup-debian`. Where one is missing, or a right is, the test is skipped and says so. On CI
(CI=true) that is an error: there nothing may be missing, or a suite that tests nothing would pass.
"""

import os
import shutil
from typing import NoReturn

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Give the mark of tests that start these programs. Raises on CI when one is missing."""
    missing = ", ".join(program for program in programs if shutil.which(program) is None)
    if missing and _on_ci():
        raise RuntimeError(f"on CI nothing is skipped; install (tests/setup-debian): {missing}")
    return pytest.mark.skipif(bool(missing), reason=f"missing: {missing}; see tests/setup-debian")


def allowed(may: bool, what: str) -> pytest.MarkDecorator:
    """Give the mark of tests that need the machine to allow something. Raises on CI when it does not."""
    if not may and _on_ci():
        raise RuntimeError(f"on CI nothing is skipped; this is not allowed here: {what}")
    return pytest.mark.skipif(not may, reason=f"not allowed here: {what}")


def as_root(what: str) -> pytest.MarkDecorator:
    """Give the mark of tests of something that only root may do. Raises on CI for anybody else."""
    return allowed(os.geteuid() == 0, f"{what} (only root may)")


def not_allowed(why: str) -> NoReturn:
    """End a test that found out while it ran what is not allowed: skipped, but failed on CI."""
    if _on_ci():
        pytest.fail(why)
    pytest.skip(why)


def _on_ci() -> bool:
    return os.environ.get("CI") == "true"
