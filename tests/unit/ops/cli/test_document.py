"""The pages of commands that are checked in say what the registry says."""

import re
from pathlib import Path

import pytest

from daemons.document import every_command, main
from ops.cli.document import INDEX, pages

ROOT = Path(__file__).parents[4]
PAGES = pages(every_command())


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / "cli" / name).read_text(encoding="utf-8") == PAGES[name]


def test_there_is_no_page_of_a_command_that_is_no_more() -> None:
    assert {path.name for path in (ROOT / "docs" / "cli").glob("*.md")} == set(PAGES)


def test_every_link_of_the_index_leads_to_a_heading() -> None:
    links = re.findall(r"\]\((\w+\.md)#([\w-]+)\)", PAGES[INDEX])
    assert len(links) > 100
    for file, anchor in links:
        headings = re.findall(r"^#+ (.*)$", PAGES[file], re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, (file, anchor)


def test_a_page_has_usage_options_choices_and_an_example() -> None:
    page = PAGES["destconfig.md"]
    assert "destconfig new DOMAIN [--max-connections N]" in page
    assert "| `--limit-type` | max_connections and recipient_limit are for the whole domain" in page
    assert "`host`, `mxip`" in page
    assert "ssh admin@HOST 'destconfig new DOMAIN --max-connections 10'" in page


def test_it_writes_the_pages_into_a_folder_and_takes_old_ones_away(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "gone.md").write_text("# gone\n")
    assert main([str(tmp_path / "cli")]) == 0
    assert {path.name for path in (tmp_path / "cli").iterdir()} == set(PAGES)
    assert (tmp_path / "cli" / INDEX).read_text(encoding="utf-8") == PAGES[INDEX]
    assert main([]) == 64
