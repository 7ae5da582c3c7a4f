"""daemons.support.opened_bastion: the log of the commands, and the lock before it."""

import fcntl
from pathlib import Path
from typing import Any, cast

import pytest

from core.errors import EX_TEMPFAIL, GatepostError
from daemons.machine import Machine
from daemons.support import opened_bastion
from daemons.support.opened_bastion import OpenedBastion
from tunnel.audit import verify


def test_the_log_of_commands_has_a_lock_of_its_owners_that_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").mkdir()
    lock = tmp_path / "log" / "support.lock"
    lock.touch(0o644)
    lock.chmod(0o644)
    bastion = OpenedBastion(Machine(tmp_path / "gatepost.toml", cast(Any, None)), cast(Any, None))
    bastion.note("case-open", case="SR1")
    assert lock.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(opened_bastion, "LOCK_S", 0.2)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(GatepostError, match=r"support\.lock: another process holds") as caught:
            bastion.note("case-open", case="SR2")
        assert caught.value.status == EX_TEMPFAIL
    bastion.note("case-open", case="SR3")
    assert verify(tmp_path / "log" / "support.jsonl") == 2
