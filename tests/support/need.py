"""What a test needs of the machine that it runs on: programs of other packages (`tests/setup-debian` installs them).

Where one is missing the test is skipped and says so. On CI (CI=true) that is an error: there nothing may be missing,
or a suite that tests nothing would pass. What a machine does not *allow* (mounting, say) is the test's own business.
"""

import os
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Give the mark of tests that start these programs. Raises on CI when one is missing."""
    missing = ", ".join(program for program in programs if shutil.which(program) is None)
    if missing and os.environ.get("CI") == "true":
        raise RuntimeError(f"on CI nothing is skipped; install (tests/setup-debian): {missing}")
    return pytest.mark.skipif(bool(missing), reason=f"missing: {missing}; see tests/setup-debian")
