"""What looks after the logs, where there is no room to remember what it did."""

from pathlib import Path

from core.config.section import LogSection
from core.log.book import Logs
from core.log.config import subscriptions_of
from core.log.keeper import LogKeeper
from tests.support.service import running


async def test_a_full_disk_at_the_end_was_a_crash_of_the_console(tmp_path: Path) -> None:
    logs = Logs(subscriptions_of(tmp_path / "log", LogSection(), []), "", key=tmp_path / "key")
    (tmp_path / "state" / "logs.json" / "in the way").mkdir(parents=True)  # root writes everywhere else
    said: list[str] = []
    keeper = LogKeeper(logs, "esa.example.test", memory=tmp_path / "state" / "logs.json", note=said.append)
    async with running(keeper):
        pass
    assert any("cannot be kept" in line for line in said)
