"""`textconfig`: texts in batch form, as a file, and as a dialogue."""

from pathlib import Path

from tests.support.golden import same_as_golden
from tests.support.operating import Operating


async def test_a_disclaimer_is_made_and_a_listener_takes_it(tmp_path: Path) -> None:
    machine = Operating(tmp_path)
    assert (await machine.ran("textconfig new legal --kind disclaimer --text 'For $EnvelopeFrom only.'")).status == 0
    assert (await machine.ran("listenerconfig edit OutboundMail setup --footer legal")).status == 0
    assert machine.tables()["text"] == [{"name": "legal", "kind": "disclaimer", "text": "For $EnvelopeFrom only."}]
    assert machine.tables()["listener"][1]["footer"] == "legal"


async def test_a_report_with_a_variable_that_there_is_not_is_refused(tmp_path: Path) -> None:
    refused = await Operating(tmp_path).ran("textconfig new b --kind bounce --text '$Nobody'")
    assert refused.status == 65
    assert "$Nobody is no variable" in refused.error


async def test_texts_of_several_lines_survive_export_and_import(tmp_path: Path) -> None:
    machine = Operating(tmp_path)
    body = 'First # line\n\n[third] = "x"\\n\n  last'
    assert (await machine.ran(f"textconfig new legal --kind disclaimer --text '{body}'")).status == 0
    before = machine.tables()
    out = (await machine.ran("textconfig export -")).output
    assert (await machine.ran("textconfig clear")).status == 0
    assert (await machine.ran("textconfig import -", stdin=out.encode())).status == 0
    assert machine.tables() == before


async def test_textconfig_as_it_is_on_the_screen(tmp_path: Path) -> None:
    machine = Operating(tmp_path)
    shown = await machine.talked(
        *("textconfig", "new", "4", "legal", "--", "For your eyes only.", ".", "print"),
        *("edit", "1", "", "", "y", "Changed.", ".", "list", "delete", "1", "y", ""),
    )
    same_as_golden(Path(__file__).parent / "golden" / "textconfig.txt", shown)
