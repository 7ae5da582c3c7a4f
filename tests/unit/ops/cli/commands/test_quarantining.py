"""`quarantineconfig` on a management host."""

from pathlib import Path

from tests.support.golden import same_as_golden
from tests.support.operating import Operating

TEXT = '[appliance]\nrole = "sma"\nserial = "42AB-CE"\nhostname = "sma.example.test"\n'


async def test_a_quarantine_needs_a_time_that_can_be_read(tmp_path: Path) -> None:
    machine = Operating(tmp_path, TEXT)
    refused = await machine.ran("quarantineconfig new Legal soon")
    assert (refused.status, "a time is a number with its unit" in refused.error) == (65, True)
    assert (await machine.ran("quarantineconfig new Legal '8 hours' --default-action release")).status == 0
    assert machine.tables()["quarantine"] == [{"name": "Legal", "retention": "8 hours", "default_action": "release"}]
    out = (await machine.ran("quarantineconfig export -")).output
    assert (await machine.ran("quarantineconfig import -", stdin=out.encode())).status == 0
    assert machine.tables()["quarantine"] == [{"name": "Legal", "retention": "8 hours", "default_action": "release"}]


async def test_a_gateway_has_none(tmp_path: Path) -> None:
    assert (await Operating(tmp_path).ran("quarantineconfig list")).status == 77


async def test_quarantineconfig_as_it_is_on_the_screen(tmp_path: Path) -> None:
    answers = ["quarantineconfig", "new", "Legal", "soon", "8 hours", "2", "", "list", "edit", "1", "", "10 days"]
    answers += ["", "n", "delete", "1", "y", ""]
    shown = await Operating(tmp_path, TEXT).talked(*answers)
    same_as_golden(Path(__file__).parent / "golden" / "quarantineconfig.txt", shown)
