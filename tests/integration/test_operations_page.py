"""What docs/operations.md tells to type is accepted by the programs that it is for."""

import re
from pathlib import Path

import pytest

from tests.support.lab import ran
from tests.support.need import as_root, needs

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()


@as_root("a network namespace of its own")
@needs("nft", "unshare")
def test_the_firewall_rules_load(tmp_path: Path) -> None:
    (rules,) = re.findall(r"```nft\n(.*?)```", PAGE, re.DOTALL)
    for port in ("25", "443", "7025", "4766", "53"):
        assert re.search(rf"\b{port}\b", rules)
    file = tmp_path / "gatepost.nft"
    file.write_text(rules)
    for more in (["-c"], []):
        done = ran(["unshare", "-n", "nft", *more, "-f", str(file)])
        assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("alert", re.findall(r"`(Gatepost[A-Z]\w+)`", PAGE))
def test_the_alerts_that_are_named_exist(alert: str) -> None:
    rules = (Path(__file__).parents[2] / "etc/monitoring/alerts.yml").read_text()
    assert f"alert: {alert}\n" in rules
