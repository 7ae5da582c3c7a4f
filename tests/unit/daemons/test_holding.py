"""Quarantines follow a commit: the policy that daemons hold becomes that of the candidate."""

from pathlib import Path

from cpq.policy import Policy
from daemons.holding import following_quarantines
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
