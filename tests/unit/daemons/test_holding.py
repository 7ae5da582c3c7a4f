"""Quarantines follow a commit: the policy that daemons hold becomes that of the candidate."""

from pathlib import Path
from typing import cast

import pytest

from core.errors import ConfigError
from cpq.held import Catalogue
from cpq.policy import Policy, Quarantine
from cpq.state import Event
from daemons.holding import following_quarantines, keeping_quarantines
from daemons.initial import make
from daemons.machine import Machine


async def test_a_candidate_counts_only_once_it_is_applied(tmp_path: Path) -> None:
    make("sma", tmp_path, hostname="sma.example.test")
    config = tmp_path / "gatepost.toml"
    text = config.read_text() + '\n[[quarantine]]\nname = "Legal"\nretention = "8 hours"\n'
    (tmp_path / "candidate.toml").write_text(text)
    policy = Policy()
    prepared = await following_quarantines(policy)(Machine.open(config, tmp_path / "candidate.toml"))
    assert "Legal" not in policy.known
    await prepared.apply()
    assert policy.named("Legal").retention_s == 8 * 3600


class _Held:
    """As much of a catalogue as is asked: how many messages each quarantine holds."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    async def held_in(self, quarantine: str) -> int:
        return self._counts.get(quarantine, 0)


@pytest.mark.parametrize("count", [0, 1, 1200])
async def test_a_quarantine_that_still_holds_mail_is_not_taken_away(tmp_path: Path, count: int) -> None:
    make("sma", tmp_path, hostname="sma.example.test")
    candidate = Machine.open(tmp_path / "gatepost.toml")
    policy = Policy([Quarantine("Legal", 3600.0, Event.DELETE, True)])
    prepare = keeping_quarantines(policy, cast(Catalogue, _Held(Legal=count)))
    if not count:
        await (await prepare(candidate)).apply()
        return
    with pytest.raises(ConfigError, match=f"Legal still holds {'1 message:' if count == 1 else '1,200 messages:'}"):
        await prepare(candidate)
