"""Counters have three readings, and lifetime survives a restart."""

from pathlib import Path

import pytest

from core.metrics import Counters


def test_reset_uptime_and_lifetime(tmp_path: Path) -> None:
    first = Counters(tmp_path / "counters.json")
    first.add("inj_msgs", 3)
    first.save()
    second = Counters(tmp_path / "counters.json")
    second.add("inj_msgs")
    assert second.snapshot()["inj_msgs"] == {"reset": 4, "uptime": 1, "lifetime": 4}
    second.reset()
    second.add("inj_msgs", 2)
    assert second.snapshot()["inj_msgs"] == {"reset": 2, "uptime": 3, "lifetime": 6}


@pytest.mark.parametrize("damaged", [b"{", b"", b'{"lifetime": {"inj_\xff": 1}}', b'{"lifetime": 7}'])
def test_a_damaged_state_file_counts_from_zero(tmp_path: Path, damaged: bytes) -> None:
    """A flipped bit that left no UTF-8 kept the daemon from starting."""
    (tmp_path / "counters.json").write_bytes(damaged)
    counters = Counters(tmp_path / "counters.json")
    counters.add("inj_msgs")
    counters.save()
    assert Counters(tmp_path / "counters.json").snapshot()["inj_msgs"]["lifetime"] == 1


def test_rates_are_scaled_to_an_hour(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "counters.json")
    counters.add("inj_recips", 100)
    assert counters.rates()["inj_recips"] == {"1m": 6000, "5m": 1200, "15m": 400}


def test_counts_and_gauges_of_others_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    (state := tmp_path / "counters.json").write_text('{"lifetime": {"dns_requests": 40}}')
    counters, asked = Counters(state), {"dns_requests": 0}
    counters.also(lambda: asked)
    counters.show(lambda: {"conn_in": 7})
    asked["dns_requests"] = 2
    facts = counters.facts()
    assert facts["counters"]["dns_requests"] == {"reset": 42, "uptime": 2, "lifetime": 42}
    assert facts["rates"]["dns_requests"]["1m"] == 120
    assert facts["gauges"] == {"conn_in": 7}
    counters.save()
    assert Counters(state).snapshot()["dns_requests"]["lifetime"] == 42


def test_facts_say_when_the_counters_were_reset(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "counters.json")
    assert counters.facts()["counters_reset_at"] is None
    counters.reset()
    assert counters.facts()["counters_reset_at"] >= counters.since_at
