"""Refusals of one connection: counted each, logged once, summed up at the end."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.metrics import Counters
from core.ssh import Refusal
from tunnel.audit import AuditLog
from tunnel.bastion.door import Door
from tunnel.bastion.refusal import EVERY_S, LINES, MOST, REMEMBERED, Refusals, Seldom


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def _refusals(folder: Path) -> tuple[Refusals, Counters]:
    counters = Counters(folder / "counters.json")
    refusals = Refusals(AuditLog(folder / "audit.jsonl"), counters, "engineer")
    refusals.user, refusals.key_id, refusals.source = "sn-1", "ana@1#2", "192.0.2.1"
    return refusals, counters


def test_the_same_refusal_is_one_line_and_one_sum(tmp_path: Path) -> None:
    refusals, counters = _refusals(tmp_path)
    for _ in range(5):
        assert refusals.note("agent", "agent forwarding")
    refusals.note("x11", "X11 forwarding")
    refusals.close()
    lines = [line for line in _lines(tmp_path) if line["event"].startswith("refused")]
    assert [(line["event"], line["rule"], line.get("times")) for line in lines] == [
        ("refused", "agent", None),
        ("refused", "x11", None),
        ("refused-often", "agent", 5),
    ]
    assert lines[0]["key_id"] == "ana@1#2"
    assert counters.snapshot()["refused_agent"]["uptime"] == 5


def test_many_different_refusals_fill_no_log_and_end_the_connection(tmp_path: Path) -> None:
    refusals, counters = _refusals(tmp_path)
    kept = [refusals.note("connection", f"may not connect to {n}") for n in range(MOST)]
    assert kept == [True] * (MOST - 1) + [False]
    refusals.close()
    lines = [line for line in _lines(tmp_path) if line["event"].startswith("refused")]
    assert len(lines) == LINES + 1
    assert lines[-1]["times"] == MOST - LINES
    assert counters.snapshot()["refused_connection"]["uptime"] == MOST


def test_a_frozen_appliance_that_dials_again_and_again_is_a_line_once_in_a_while(tmp_path: Path) -> None:
    now = [0.0]
    counters, audit = Counters(tmp_path / "counters.json"), AuditLog(tmp_path / "audit.jsonl")
    seldom = Seldom(lambda: now[0])

    def dials(source: str) -> None:
        refusals = Refusals(audit, counters, "appliance", seldom)
        refusals.user, refusals.source = "sn-1", source
        refusals.note("frozen", "this serial is frozen")
        refusals.note("name", "has its name already")
        refusals.close()

    for _ in range(50):
        dials("192.0.2.1")
    dials("192.0.2.2")
    now[0] = EVERY_S
    dials("192.0.2.1")
    lines = [line for line in _lines(tmp_path) if line.get("rule") == "frozen"]
    assert [(line["source"], line["more_before"]) for line in lines] == [
        ("192.0.2.1", 0),
        ("192.0.2.2", 0),
        ("192.0.2.1", 49),
    ]
    assert counters.snapshot()["refused_frozen"]["uptime"] == 52
    assert len([line for line in _lines(tmp_path) if line.get("rule") == "name"]) == 52
    for number in range(REMEMBERED + 1):
        assert seldom.unsaid("frozen", f"sn-{number}", "192.0.2.9") == 0
    assert seldom.unsaid("frozen", "sn-0", "192.0.2.9") == 0, "the oldest is forgotten, not the newest refused"


def test_the_door_says_the_first_of_a_minute_and_counts_the_rest(tmp_path: Path) -> None:
    now = [0.0]
    counters = Counters(tmp_path / "counters.json")
    door = Door("appliances", AuditLog(tmp_path / "audit.jsonl"), counters, lambda: now[0])
    for _ in range(100):
        door.refused(Refusal("192.0.2.1", "127.0.0.1:25", "too many", "early-drop"))
    now[0] = 61.0
    door.refused(Refusal("192.0.2.2", "127.0.0.1:25", "too many", "early-drop"))
    lines = [line for line in _lines(tmp_path) if line["event"] == "refused-at-door"]
    assert [(line["source"], line["more_before"]) for line in lines] == [("192.0.2.1", 0), ("192.0.2.2", 99)]
    assert counters.snapshot()["door_refused_early_drop"]["uptime"] == 101


def test_what_a_stranger_says_when_he_leaves_is_one_line_without_controls(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    door = Door("engineers", AuditLog(tmp_path / "audit.jsonl"), Counters(tmp_path / "counters.json"))
    door.refused(Refusal("192.0.2.1", "127.0.0.1:22", "bye\n<2>forged\x1b[2J", "broken"))
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "forged" in said
