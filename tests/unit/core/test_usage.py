"""What the folders of a machine take."""

from pathlib import Path

from core.usage import usage_of


def fill(file: Path, kib: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * (kib << 10))


def test_a_folder_is_counted_with_all_below_it_and_its_largest_files_are_named(tmp_path: Path) -> None:
    for number in range(8):
        fill(tmp_path / "a" / f"{number}.log", 4 + 4 * number)
    (tmp_path / "link").symlink_to("/")
    usage = usage_of(tmp_path)
    assert usage.octets >= sum(4 + 4 * number for number in range(8)) << 10
    assert [file for _, file in usage.largest] == [f"a/{number}.log" for number in (7, 6, 5, 4, 3)]
    assert usage_of(tmp_path / "nothing").octets == 0
