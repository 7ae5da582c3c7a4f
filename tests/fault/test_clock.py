"""The machine's clock is set by a day, forward and back, while mail comes, waits and goes.

The daemons run under libfaketime, which lies about the time of day as a set clock would and leaves the monotonic clock
alone. Mail may be in the queue for an hour here: a queue that believed the clock would bounce everything, or sleep for
a day.
"""

import asyncio
import glob
import random
from pathlib import Path

import pytest

from tests.support.load import Road, Sink, road
from tests.support.long import either
from tests.support.need import needs

PROFILE = """
[[bounce_profile]]
name = "Default"
initial_retry_s = 1
max_retry_s = 2
max_in_queue_s = 3600
delay_warnings = "on"
"""
JUMPS_DAYS = either([-1, 1], [-1, 1, 0, 2, -2, 0, 1, 0, -1, 0])
WEEK_S = "604800"
"""Longer than the days between which the clock is set: a clock set forward before a start is believed."""
SETTLING_S = 1.5
"""More mail is taken by the clock that was set; both daemons see it set at the same moment, as on a real machine."""

pytestmark = [pytest.mark.slow, needs("faketime"), pytest.mark.timeout(either(180, 1200))]


def set_clock(file: Path, days: int) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(f"{days * 86_400:+d}\n")
    draft.rename(file)


def under(whole: Road, file: Path) -> None:
    (library,) = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    for daemon in (whole.gateway, whole.queue):
        daemon.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


async def test_mail_goes_on_whoever_sets_the_clock_by_a_day(tmp_path: Path) -> None:
    sink, file = Sink(refuses=1.0), tmp_path / "time"
    set_clock(file, 0)
    async with road(tmp_path / "esa", sink, PROFILE) as whole:
        under(whole, file)
        await whole.start()
        for days in JUMPS_DAYS:
            sink.refuses = 1.0
            async with whole.load(4, 0.03):
                await whole.more_accepted(40)
                set_clock(file, days)
                await asyncio.sleep(SETTLING_S)
                await whole.more_accepted(40)
            sink.refuses = 0.3
            await whole.empty()
        log = (whole.folder / "log" / "mail_logs" / "mail.current").read_text()
        assert (whole.gateway.status, whole.queue.status) == (None, None)
    assert "Info: " in log
    assert not sink.damaged, "mail was bounced, or its sender warned"
    assert sink.repeats == 0
    assert not whole.refused


async def test_a_restart_after_the_clock_was_set_finds_nothing_that_waits_for_a_day(tmp_path: Path) -> None:
    sink, file = Sink(refuses=1.0), tmp_path / "time"
    set_clock(file, 0)
    async with road(tmp_path / "esa", sink, PROFILE.replace("3600", WEEK_S).replace('"on"', '"off"')) as whole:
        under(whole, file)
        for days in either([0, -1, 0], [0, -1, 1, -1, 2, 0, random.choice([-2, 2])]):
            sink.refuses = 1.0
            set_clock(file, days)
            await whole.start()
            async with whole.load(4, 0.03):
                await whole.more_accepted(40)
            await asyncio.sleep(1.5)
            await whole.kill()
        await whole.start()
        sink.refuses = 0.0
        await whole.empty()
    assert not sink.damaged
    assert sink.repeats <= whole.in_flight
