"""Resource conservation: what is measured becomes a brake, log lines, alerts and suspended listeners."""

import os
from pathlib import Path
from typing import Any

import pytest

from core.maillog import MailLog
from core.memory import Memory
from core.smtp.door import Brake, Door
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from mail.edge.config import ConservationSection
from mail.edge.conserve import Conservation, Meter, Readings
from mail.listeners import Listeners, Ways
from protocol.smtp.settings import ServerSettings
from tests.support.service import running
from tests.support.smtp_session import Recorder


class Sent:
    """Takes alerts."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, str]] = []

    def send(self, severity: str, kind: str, text: str) -> None:
        self.alerts.append((severity, kind, text))


def ways(name: str) -> Ways:
    settings = ListenerSettings(name, "127.0.0.1", 0, ServerSettings("esa.test"))
    return Ways(settings, Recorder().session, Door())


class World:
    """What is measured, to be set by a test."""

    def __init__(self, folder: Path, **section: Any) -> None:
        self.sync_s, self.backlog, self.waiting, self.trouble = 0.0, 0.0, 0, ""
        self.log = MailLog(folder / "log")
        self.listeners = Listeners([ways("In"), ways("Out")], self.make, state=folder / "suspended", log=self.log)
        self.brake, self.sent = Brake(), Sent()
        readings = Readings(lambda: self.sync_s, lambda: self.backlog, lambda: self.waiting, lambda: self.trouble)
        alerts: Any = self.sent
        self.service = Conservation(
            ConservationSection.model_validate(
                {"memory_start": 0, "memory_halt": 0, "disk_start": 0, "disk_halt": 0} | section
            ),
            self.brake,
            Meter(folder, folder, Memory(section.get("memory_limit", 0))),
            readings,
            listeners=self.listeners,
            hostname="esa.test",
            log=self.log,
            alerts=alerts,
        )

    def make(self, ways: Ways, suspended: bool) -> SmtpListener:
        return SmtpListener(ways.settings, ways.session, suspended=suspended)

    def lines(self, folder: Path) -> list[str]:
        self.log.flush()
        return [line.split(" ", 5)[5] for line in (folder / "log").read_text().splitlines()]


async def test_a_slow_journal_slows_receiving_then_stops_it_and_all_is_undone(tmp_path: Path) -> None:
    world = World(tmp_path)
    for seconds, delay, refusing, shown in (
        (0, 0, False, 0),
        (16.5, 30, False, 30),
        (31, 0, True, 999),
        (0, 0, False, 0),
    ):
        world.sync_s = seconds
        await world.service.turn()
        assert (world.brake.delay_s, world.brake.refusing) == (delay, refusing)
        assert world.service.gauges()["resource_conservation"] == shown
        concerns, figures, _ = world.service.condition()
        assert [one.grave for one in concerns] == ([refusing] if shown else [])
        assert all("journal write" in one.text for one in concerns)
        shares = {figure.labels["cause"]: figure.value for figure in figures}
        assert shares["journal write"] == seconds / 30
        assert "memory" not in shares, "it is switched off"
    assert world.lines(tmp_path) == [
        "Warning: Resource conservation: off -> 30 s of delay: journal write 16.5 s (from 3 to 30)",
        "Warning: Resource conservation: 30 s of delay -> refusing mail: journal write 31.0 s (from 3 to 30)",
        "Info: Resource conservation: refusing mail -> off: journal write 0.0 s (from 3 to 30)",
    ]
    kinds = [(severity, kind) for severity, kind, _ in world.sent.alerts]
    assert kinds == [("Critical", "MAIL.RES_CON_START_ALERT.QUEUE"), ("Critical", "MAIL.RES_CON_STOP_ALERT")]
    assert world.sent.alerts[0][2].startswith("system (hostname: esa.test) has entered a 'resource conservation' mode")


async def test_each_cause_has_its_alert(tmp_path: Path) -> None:
    world = World(tmp_path, memory_limit=1 << 20, memory_start=1, memory_halt=2)
    world.service._meter.pids = lambda: {os.getpid()}  # type: ignore[method-assign]
    await world.service.turn()
    world.service._meter.pids = set  # type: ignore[method-assign]
    await world.service.turn()
    world.waiting = 2_000
    await world.service.turn()
    starts = [alert[:2] for alert in world.sent.alerts if "START" in alert[1]]
    assert starts == [("Critical", "MAIL.RES_CON_START_ALERT.MEMORY"), ("Info", "MAIL.RES_CON_START_ALERT.WORKQ")]


async def test_a_long_work_queue_suspends_listeners_but_not_what_the_operator_did(tmp_path: Path) -> None:
    world = World(tmp_path, work_queue_suspend=100, work_queue_resume=10)
    listeners = world.listeners
    async with running(listeners):
        await listeners.suspend({"listeners": ["Out"]})
        for waiting, states in ((99, "o-"), (100, "--"), (50, "--"), (10, "o-"), (50, "o-")):
            world.waiting = waiting
            await world.service.turn()
            assert "".join("-" if one.suspended else "o" for one in listeners.services.values()) == states
            (concern,) = listeners.condition().concerns
            assert concern.grave is (states == "--")
            assert ("the work queue" in concern.text) is (states == "--")
        await listeners.resume({})
    text = "\n".join(world.lines(tmp_path))
    assert "Warning: Receiving suspended for In: 100 messages in the work queue." in text
    assert "Info: Receiving resumed for In: 10 messages in the work queue." in text


async def test_a_spool_that_takes_nothing_is_said_once_each_way(tmp_path: Path) -> None:
    world = World(tmp_path)
    for trouble in ("", "disk full", "disk full", ""):
        world.trouble = trouble
        await world.service.turn()
    assert [kind for _, kind, _ in world.sent.alerts] == ["MAIL.SPOOL_UNHEALTHY"]
    assert world.lines(tmp_path) == ["Critical: The spool takes no mail: disk full", "Info: The spool takes mail again"]


async def test_answers_that_are_held_go_out_when_the_pressure_ends(tmp_path: Path) -> None:
    world, answered = World(tmp_path), []
    world.sync_s = 20
    await world.service.turn()
    world.brake.hold(lambda: answered.append(1))
    assert not answered
    world.sync_s = 0
    await world.service.turn()
    assert answered == [1]


def test_disk_in_use_is_read_and_a_folder_that_is_gone_is_left_out(tmp_path: Path) -> None:
    values = Meter(tmp_path, tmp_path, Memory()).read()
    assert 0 <= values["disk"] <= 100
    assert "disk" not in Meter(tmp_path, tmp_path / "gone", Memory()).read()


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), RuntimeError("can't start new thread"), MemoryError()]
)
async def test_what_cannot_be_measured_for_a_moment_ends_no_gateway(tmp_path: Path, error: Exception) -> None:
    """Without a descriptor to look for the other processes with, the whole daemon ended."""
    world = World(tmp_path, memory_start=10, memory_halt=20)
    errors: list[Exception] = []

    def read() -> dict[str, float]:
        if errors:
            raise errors[0]
        return {"memory": 15.0}

    world.service._meter.read = read  # type: ignore[method-assign]
    for errors[:] in ([], [error], [error], []):
        await world.service.turn()
        assert world.brake.delay_s > 0, "what was measured last holds"
        assert world.service.gauges()["ram_utilization"] == 15.0
    lines = [line for line in world.lines(tmp_path) if "measured" in line]
    assert [line.partition(" now")[0] for line in lines] == [
        "Warning: Memory and disk cannot be measured",
        "Info: Memory and disk can be measured again",
    ]


async def test_a_fault_in_measuring_is_not_hidden(tmp_path: Path) -> None:
    world = World(tmp_path)

    def read() -> dict[str, float]:
        raise RuntimeError("fault")

    world.service._meter.read = read  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="fault"):
        await world.service.turn()


async def test_other_thresholds_count_from_the_next_reading_and_end_what_they_do_not_call_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sync_s = 31
    await world.service.turn()
    assert world.brake.refusing
    off = {"memory_start": 0, "memory_halt": 0, "disk_start": 0, "disk_halt": 0}
    world.service.follow(ConservationSection.model_validate(off | {"sync_halt_s": 100}), Memory(0))
    await world.service.turn()
    assert (world.brake.refusing, world.brake.delay_s) == (False, 17.0)
