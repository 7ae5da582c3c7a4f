from pathlib import Path
from zlib import crc32

import pytest

from core.journal.entry import ContentRef, Position, open_content, read_content
from core.journal.error import JournalDamaged


def test_positions_are_stored_and_ordered() -> None:
    assert Position.decode(Position(3, 4096).encode()) == (3, 4096)
    assert Position(3, 9000) < Position(4, 0) < Position(4, 1)


def test_content_is_read_in_steps_and_checked(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "f").write_bytes(b"before" + data + b"after")
    ref = ContentRef("journal", tmp_path / "f", 6, len(data), crc32(data), 1)
    assert read_content(ref) == data
    assert max(map(len, open_content(ref))) == 256 * 1024


def test_changed_or_missing_octets_are_damage(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    with pytest.raises(JournalDamaged, match="not what was written"):
        read_content(ContentRef("file", tmp_path / "f", 0, 5, crc32(b"hullo"), 1))
    with pytest.raises(JournalDamaged, match="ends before"):
        read_content(ContentRef("file", tmp_path / "f", 0, 6, crc32(b"hello"), 1))
