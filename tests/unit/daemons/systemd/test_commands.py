"""What `gatepost systemd install` says to whoever has installed."""

import os
from pathlib import Path

import pytest

from core.config.document import check_document
from daemons.config import DOCUMENTS
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
