"""An operator's verb is killed at every named point: what was reported as done is done, nothing else is lost."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine
from tests.support.verb_child import MESSAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize(
    "point",
    ["done.before", "done.written", "checkpoint.begun", "checkpoint.before-commit", "checkpoint.committed"],
)
async def test_what_was_told_is_true_after_a_kill(tmp_path: Path, point: str, count: int) -> None:
    environment = os.environ | {"GATEPOST_KILL_AT": f"{point}:{count}", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "tests.support.verb_child", str(tmp_path)]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    told = (tmp_path / "told").read_text().split("\n") if (tmp_path / "told").exists() else []
    if "ready" not in told:
        return  # killed before the verbs began
    best = Counter[str]()
    for line in told[1:]:
        action, _, recipients = line.partition(" ")
        best[action] = max(best[action], int(recipients or 0))
    machine = Machine(tmp_path)
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "nobody there"), "nobody there")
    queue = await machine.start()
    await machine.until(lambda: queue.importer.caught_up)
    active = {one["host"]: one["active_recipients"] for one in queue.views.tophosts()["hosts"]}
    assert active.get("dead.test", 0) <= MESSAGES - best["delete"]
    assert active.get("[x.test]:25", 0) >= best["redirect"]
    assert active.get("else.test", 0) + active.get("[x.test]:25", 0) == MESSAGES
    await machine.close()
