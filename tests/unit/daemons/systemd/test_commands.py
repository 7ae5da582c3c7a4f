"""What `gatepost systemd install` says to whoever has installed."""

import os
import subprocess
from pathlib import Path

import pytest

from core.config.document import check_document
from daemons.config import DOCUMENTS
from daemons.systemd import commands
from daemons.systemd.commands import advice


@pytest.mark.parametrize(
    ("role", "processors", "runtime", "said"),
    [
        ("esa", 8, {}, "[runtime] gateways = 4 "),
        ("esa", 8, {"gateways": 1}, ""),
        ("esa", 2, {}, ""),
        ("sma", 8, {}, ""),
    ],
)
def test_a_gateway_that_leaves_processors_idle_is_told_unless_that_is_meant(
    role: str, processors: int, runtime: dict[str, int], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    tables = {"appliance": {"role": role, "serial": "S", "hostname": "m.example"}, "runtime": runtime}
    *lines, last = advice(tmp_path, check_document(tables, DOCUMENTS[role], "test"))
    assert last.startswith("next, ")
    assert said in "".join(lines)
    assert bool(said) is bool(lines)


def test_gateways_that_are_too_many_went_on_after_a_restart_and_nobody_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = "gatepost-gateway@{}.service loaded active running Gatepost gateway {}: takes mail in\n"

    def systemctl(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        listed = "".join(row.format(one, one) for one in (0, 1, 2)) if "list-units" in words else ""
        return subprocess.CompletedProcess(words, 0, listed, "")

    monkeypatch.setattr(commands, "_runs", lambda _: True)
    monkeypatch.setattr(subprocess, "run", systemctl)
    tables = {"appliance": {"role": "esa", "serial": "S", "hostname": "m.example"}}
    more, enough = ({**tables, "runtime": {"gateways": number}} for number in (1, 3))
    said = "\n".join(advice(tmp_path, check_document(more, DOCUMENTS["esa"], "test")))
    assert "systemctl stop gatepost-gateway@1.service gatepost-gateway@2.service\n" in said
    assert "systemctl stop" not in "".join(advice(tmp_path, check_document(enough, DOCUMENTS["esa"], "test")))
