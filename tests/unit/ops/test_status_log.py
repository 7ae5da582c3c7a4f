"""The status log's line has names and values in the order that its readers expect."""

from pathlib import Path

from ops.status_log import StatusLog, status_line
from tests.support.appliance import Audit, Daemons, machine
from tests.support.service import running

DOCUMENT = {
    "counters": {"inj_msgs": {"reset": 7, "uptime": 8, "lifetime": 9}},
    "gauges": {"cpu_utilization": 3, "kbytes_free": 100, "log_available": 18 << 30, "resource_conservation": 0},
}


def test_pairs_come_in_order_and_what_is_not_known_is_left_out() -> None:
    words = status_line(DOCUMENT).split()
    assert words[0] == "Status:"
    names, values = words[1::2], words[2::2]
    pairs = dict(zip(names, values, strict=True))
    assert pairs["InjMsg"] == "7"
    assert pairs["InjRcp"] == "0"
    assert (pairs["CPULd"], pairs["QKFre"], pairs["LogAvail"]) == ("3", "100", "18G")
    assert "RAMUtil" not in pairs
    assert names[:2] == ["CPULd", "QKFre"]
    assert names[-2:] == ["ResCon", "LogAvail"]


async def test_a_line_is_written_at_every_interval_and_says_so_when_nobody_answers(tmp_path: Path) -> None:
    log = Audit()
    async with running(StatusLog(machine(tmp_path), log, 0.01)):
        await log.written.wait()
    assert log.lines[0].startswith("Status: no daemon answers")


async def test_the_line_is_about_the_whole_machine(tmp_path: Path) -> None:
    log, daemons = Audit(), Daemons(tmp_path / "run")
    status = {"state": "Online", "counters": {"inj_msgs": {"reset": 2, "uptime": 2, "lifetime": 2}}}
    writer = StatusLog(machine(daemons.run), log, 0.01)
    async with daemons.up(gateway_0={"status": status}, gateway_1={"status": status}), running(writer):
        await log.written.wait()
    assert " InjMsg 4 " in log.lines[0]
