"""What is written for whoever runs the daemon."""

import pytest

from core.diagnostic import ERROR, incident, say


def test_a_line_has_its_priority_under_a_service_manager_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    say(ERROR, "plain")
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    say(ERROR, "kept")
    assert capfd.readouterr().err == "plain\n<3>kept\n"


def test_an_incident_is_found_by_its_id_with_the_place_where_it_happened(capfd: pytest.CaptureFixture[str]) -> None:
    """It said what was raised and not where: an operator could report nothing that helps."""

    def broken() -> None:
        raise LookupError("no such thing")

    try:
        broken()
    except LookupError as error:
        number = incident("listener A", error)
    said = capfd.readouterr().err
    assert said.startswith(f"listener A: incident {number}: ")
    assert "LookupError: no such thing" in said
    assert "in broken" in said
