"""The page of commands that is checked in says what the registry says."""

from pathlib import Path

from ops.cli.document import main, page

ROOT = Path(__file__).parents[4]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli" / "commands.md").read_text(encoding="utf-8") == page()


def test_it_writes_the_page_into_a_folder(tmp_path: Path) -> None:
    assert main([str(tmp_path / "cli")]) == 0
    assert (tmp_path / "cli" / "commands.md").read_text(encoding="utf-8") == page()
    assert main([]) == 64
