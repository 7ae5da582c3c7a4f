"""Going back from a version that nobody confirmed, whatever becomes of the clock and the disk."""

from pathlib import Path

from ops.configuration.confirm import Confirmations, Waiting, Watch
from ops.configuration.place import Place
from tests.support.editing import write
from tests.support.service import running
from tests.support.waiting import until


class Site:
    """A machine whose version 2 waits until 1060, and what its watch does."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(write(folder))
        self.waiting = Waiting(2, self.place.in_force().digest, 1060.0, "ann", "before")
        Confirmations(self.place).wait(self.waiting, also=None)
        self.now = 1000.0
        self.monotonic = 5.0
        self.trouble: Exception | None = None
        self.gone_back: list[Waiting] = []
        self.said: list[str] = []
        self.looks = 0
        clocks = (lambda: self.now, lambda: self.monotonic)
        self.watch = Watch(self.place, self._go_back, self._resume, self.said.append, clocks[0], monotonic=clocks[1])

    async def _go_back(self, waiting: Waiting) -> object:
        self.gone_back.append(waiting)
        Confirmations(self.place).clear()
        return waiting

    async def _resume(self) -> None:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble

    async def looked(self) -> None:
        """Wait for another look."""
        before = self.looks
        await until(lambda: self.looks >= before + 2)


async def test_a_clock_that_is_set_back_does_not_keep_a_version_that_nobody_confirmed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with running(site.watch):
        await site.looked()
        site.now, site.monotonic = -300_000_000.0, 64.0
        await site.looked()
        assert site.gone_back == []
        site.monotonic = 65.0
        await site.looked()
    assert site.gone_back == [site.waiting]


async def test_a_disk_that_cannot_be_written_does_not_end_the_console(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.trouble = OSError(30, "Read-only file system")
    async with running(site.watch):
        await until(lambda: site.said)
    assert "cannot be looked after: incident" in site.said[0]
