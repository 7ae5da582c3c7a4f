"""What the machine finds wrong with itself, and how often it says so."""

import time
from pathlib import Path
from typing import Any

from core.alert.config import DiskQuotaSection
from core.alert.watch import Trouble, Watch, certificate_troubles, disk_troubles
from core.disk import Disk
from core.maillog import MailLog
from tests.support.authority import Authority


class FullDisk(Disk):
    def __init__(self, free_percent: int) -> None:
        self.free_percent = free_percent

    def space(self, directory: Path) -> tuple[int, int]:
        return self.free_percent << 30, 100 << 30


class Told:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    def send(self, severity: str, kind: str, text: str, about: str = "") -> None:
        self.sent.append((severity, kind, about))


def fill(file: Path, kib: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * (kib << 10))


def test_a_folder_near_its_quota_is_told_with_what_to_delete(tmp_path: Path) -> None:
    fill(tmp_path / "log" / "mail.1", 90)
    quotas = DiskQuotaSection(logs=100 << 10, captures=1 << 20)
    (found,) = disk_troubles(tmp_path, quotas, FullDisk(50))
    assert (found.severity, found.kind, found.about) == ("Warning", "DISK.QUOTA", "logs")
    assert "of the 100.0 KiB that [disk_quota] logs grants it." in found.text
    assert "The largest: mail.1 (" in found.text
    assert found.text.endswith("What to do: delete old files, or keep fewer and smaller ones with logconfig.")
    assert disk_troubles(tmp_path, DiskQuotaSection(logs=0), FullDisk(50)) == []


def test_a_full_disk_is_told_with_what_of_it_is_ours(tmp_path: Path) -> None:
    fill(tmp_path / "spool/quarantine/content/1", 100)
    (found,) = disk_troubles(tmp_path, DiskQuotaSection(), FullDisk(4))
    assert (found.severity, found.kind) == ("Critical", "DISK.FULL")
    assert "4.0 GiB of 100.0 GiB left" in found.text
    assert "quarantine: quarantine delete deletes" in found.text
    assert disk_troubles(tmp_path, DiskQuotaSection(disk=False), FullDisk(4)) == []


def test_a_certificate_that_ends_soon_or_has_ended_is_told(tmp_path: Path) -> None:
    ca = Authority("root")
    files = {}
    for name, days in (("fine", 90), ("soon", 20), ("now", 3), ("gone", -2)):
        _, chain = ca.host(f"{name}.example.test", days=days)
        files[name] = tmp_path / f"{name}.crt"
        files[name].write_bytes(chain)
    files["missing"] = tmp_path / "none.crt"
    found = certificate_troubles(files, time.time())
    assert [(one.about, one.severity) for one in found] == [
        ("soon", "Warning"),
        ("now", "Critical"),
        ("gone", "Critical"),
    ]
    assert "for gone.example.test, has expired." in found[2].text


def test_a_trouble_is_told_when_it_begins_when_it_grows_and_once_a_day(tmp_path: Path) -> None:
    told, now = Told(), [1000.0]
    alerts: Any = told
    watch = Watch(alerts, lambda: [], MailLog(tmp_path / "log"), monotonic=lambda: now[0])
    small, large = Trouble("Info", "DISK.QUOTA", "logs", "x"), Trouble("Critical", "DISK.QUOTA", "logs", "x")
    for trouble in (small, small, large, small, large):
        watch.tell([trouble])
    assert [one[0] for one in told.sent] == ["Info", "Critical", "Critical"]
    now[0] += 86_400
    watch.tell([large])
    assert len(told.sent) == 4
    watch.tell([])
    watch.tell([large])
    assert len(told.sent) == 5
