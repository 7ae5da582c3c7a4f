"""What the machine is, its time zone, and who keeps its clock."""

import os
import time
from pathlib import Path

import pytest

from core.time_sync import daemons, servers
from core.time_zone import set_zone
from tests.support.appliance import document
from tests.support.operating import Operating


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_version_tells_of_the_hardware_and_says_unknown_where_it_cannot(
    machine: Operating, tmp_path: Path
) -> None:
    shown = (await machine.ran("version")).output
    assert "Install Date: unknown" in shown
    assert "Serial #:     42AB-CD" in shown
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "host_ed25519").touch()
    found = document(await machine.ran("version --json"))
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] > 1 << 20
    assert abs(found["installed_at"] - time.time()) < 600


async def test_a_zone_is_chosen_by_continent_and_place(machine: Operating) -> None:
    shown = await machine.talked("settz", "1", "1")
    assert "Current time zone: that of the system\n" in shown
    assert "The time zone is Africa/Abidjan;" in shown
    assert machine.tables()["appliance"]["timezone"] == "Africa/Abidjan"
    assert (await machine.ran("settz Mars/Base")).status == 65
    await machine.ran("settz system")
    assert not machine.appliance.editing("local").pending


def test_a_process_shows_times_in_the_zone_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    set_zone("Asia/Kathmandu")
    assert time.strftime("%H:%M", time.localtime(0)) == "05:30"
    set_zone("UTC")
    assert time.strftime("%H:%M", time.localtime(0)) == "00:00"


async def test_ntpconfig_makes_no_answer_up(machine: Operating) -> None:
    found = document(await machine.ran("ntpconfig --json"))
    assert found["synchronized"] in (True, False, None)
    shown = (await machine.ran("ntpconfig")).output
    assert ("No program that keeps the clock runs" in shown) == (not found["daemons"])
    assert ("NOT synchronized" in shown) == (found["synchronized"] is False)


def test_programs_and_servers_are_read_from_what_there_is(tmp_path: Path) -> None:
    for number, name in (("7", "chronyd"), ("8", "systemd-timesyn"), ("9", "bash")):
        (tmp_path / "proc" / number).mkdir(parents=True)
        (tmp_path / "proc" / number / "comm").write_text(name + "\n")
    (tmp_path / "etc/chrony").mkdir(parents=True)
    (tmp_path / "etc/chrony/chrony.conf").write_text(
        "# pool no.test\npool a.test iburst\nserver 192.0.2.1\nkeyfile x\n"
    )
    (tmp_path / "etc/systemd").mkdir()
    (tmp_path / "etc/systemd/timesyncd.conf").write_text("[Time]\nNTP=b.test c.test\n#FallbackNTP=d.test\n")
    assert daemons(tmp_path) == ["chrony", "systemd-timesyncd"]
    assert [one["server"] for one in servers(tmp_path)] == ["a.test", "192.0.2.1", "b.test", "c.test"]
    assert (daemons(tmp_path / "none"), servers(tmp_path / "none")) == ([], [])
