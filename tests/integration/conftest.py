"""One lab for all modules that leave it as they found it; those that kill or stop machines have labs of their own."""

from collections.abc import Iterator

import pytest

from tests.support.lab import Lab, running_lab


@pytest.fixture(scope="session")
def standing_lab() -> Iterator[Lab]:
    """Bring the lab up when the first test of this process asks for it, and down at the end."""
    with running_lab("127.24", "127.25", "127.124", "127.125") as lab:
        yield lab
