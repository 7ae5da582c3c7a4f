"""Approvals: held, given, taken away, by a person and by a command, within limits."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until
from tunnel.audit import AuditLog
from tunnel.bastion.approval import Approvals
from tunnel.bastion.store import Case
from tunnel.config import CaseSection
from tunnel.identity import Engineer

ANA = Engineer(name="ana", case="SR1", key_id="ana@SR1#1", relayed=False, serials=("sn-1",), until_at=0.0)


class _Cases:
    """A store with one case."""

    def __init__(self, **facts: Any) -> None:
        self.case = Case(number="SR1", serials=(), engineers=("ana",), opened_at=1.0, **facts)

    async def get(self, number: str) -> Case | None:
        return self.case

    def change(self, **facts: Any) -> None:
        self.case = Case(number="SR1", serials=(), engineers=("ana",), opened_at=1.0, **facts)


def _approvals(tmp_path: Path, cases: _Cases, **settings: Any) -> Approvals:
    return Approvals(CaseSection(**settings), cases, AuditLog(tmp_path / "audit.jsonl"))


def _events(tmp_path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


async def test_an_approved_case_is_not_held_and_a_lost_approval_is_said_at_once(tmp_path: Path) -> None:
    cases = _Cases(approved_at=2.0)
    approvals = _approvals(tmp_path, cases)
    assert await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True) == ""
    cases.change()
    begun = time.monotonic()
    assert "was taken away" in await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True)
    assert time.monotonic() - begun < 20
    assert _events(tmp_path) == []


async def test_a_login_is_not_held_but_a_lost_approval_is_said_to_what_is_open(tmp_path: Path) -> None:
    cases = _Cases()
    approvals = _approvals(tmp_path, cases)
    assert await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=False) == ""
    cases.change(approved_at=2.0)
    assert await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True) == ""
    cases.change()
    assert "was taken away" in await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=False)


async def test_a_session_is_held_until_a_second_person_has_approved(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tunnel.bastion.approval._LOOK_S", 0.01)
    cases = _Cases()
    approvals = _approvals(tmp_path, cases)
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True))
        await until(lambda: _events(tmp_path) == ["approval-wait"])
        cases.change(approved_at=2.0)
    assert held.result() == ""
    assert _events(tmp_path) == ["approval-wait", "approval"]


async def test_nobody_waits_for_ever_and_not_too_many_wait(tmp_path: Path) -> None:
    cases = _Cases()
    approvals = _approvals(tmp_path, cases, approval_wait_s=0.2, approvals_waiting=3, approvals_waiting_per_source=2)
    sources = ["192.0.2.1"] * 3 + ["192.0.2.2"] * 2
    answers = await asyncio.gather(*(approvals.why_not(cases.case, ANA, source, hold=True) for source in sources))
    assert ["too many" in answer for answer in answers] == [False, False, True, False, True]
    assert "case approve SR1" in answers[0]
    assert "nobody has approved" in await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True)


_HOOK = """
import json, sys
facts = json.load(sys.stdin)
print(f"{facts['engineer']} from {facts['source']}\\x07", "not today")
sys.exit(0 if facts["source"] == "192.0.2.1" else 1)
"""


async def test_a_command_decides_and_its_yes_holds_for_the_certificate(tmp_path: Path) -> None:
    hook = tmp_path / "hook.py"
    hook.write_text(_HOOK)
    cases = _Cases()
    settings = {"approval": "command", "approval_command": (sys.executable, str(hook))}
    approvals = _approvals(tmp_path, cases, **settings)
    refused = await approvals.why_not(cases.case, ANA, "192.0.2.9", hold=True)
    assert refused == "the work on case SR1 was not approved: ana from 192.0.2.9 not today"
    assert await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True) == ""
    hook.unlink()
    assert await approvals.why_not(cases.case, ANA, "192.0.2.9", hold=True) == ""


@pytest.mark.parametrize("command", [("/nonexistent/hook",), (sys.executable, "-c", "import time; time.sleep(60)")])
async def test_a_command_that_cannot_run_or_does_not_end_is_a_no(tmp_path: Path, command: tuple[str, ...]) -> None:
    cases = _Cases(approved_at=2.0)
    approvals = _approvals(tmp_path, cases, approval="command", approval_command=command, approval_wait_s=0.5)
    assert await approvals.why_not(cases.case, ANA, "192.0.2.1", hold=True) != ""


async def test_none_asks_nobody(tmp_path: Path) -> None:
    cases = _Cases()
    assert await _approvals(tmp_path, cases, approval="none").why_not(cases.case, ANA, "192.0.2.1", hold=True) == ""
