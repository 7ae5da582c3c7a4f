"""`gatepost health`: where it looks, what it prints, its exit status."""

import json
from pathlib import Path

import pytest

from core.errors import ConfigError
from daemons.gatepost import main
from daemons.health import place_of

DOCUMENT = """\
[appliance]
role = "esa"
serial = "S1"
hostname = "esa.example.test"
[spool]
reserve_percent = 7.5
[health]
leave_out = ["tunnel-client", "web"]
"""


def written(tmp_path: Path, text: str) -> Path:
    config = tmp_path / "gatepost.toml"
    config.write_text(text)
    return config


def test_the_document_says_where_to_look(tmp_path: Path) -> None:
    place = place_of(written(tmp_path, DOCUMENT))
    assert (place.role, place.hostname, place.dir) == ("esa", "esa.example.test", tmp_path)
    assert (place.reserve_percent, place.leave_out) == (7.5, {"tunnel-client", "web"})


@pytest.mark.parametrize("header", ["[appliance]", "[appliance]  # who"])
def test_ten_thousands_of_routes_are_not_read(tmp_path: Path, header: str) -> None:
    text = DOCUMENT.replace("[appliance]", header) + "[[route]]\ndomain = no value\n" * 20_000
    place = place_of(written(tmp_path, text))
    assert (place.role, place.reserve_percent, len(place.leave_out)) == ("esa", 7.5, 2)


def test_a_long_document_in_another_form_is_read_whole(tmp_path: Path) -> None:
    text = 'appliance.role = "sma"\n' + "# a comment\n" * 30_000 + "[spool]\nreserve_percent = 1\n"
    assert place_of(written(tmp_path, text)).role == "sma"


@pytest.mark.parametrize(
    ("text", "reason"),
    [('[appliance]\nrole = "x"\n', "one of esa, sma, bastion is needed (found 'x')"), ("[", "cannot be read")],
)
def test_a_document_that_does_not_say_is_a_fault_of_the_configuration(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place_of(written(tmp_path, text))
    assert reason in str(caught.value.problems[0])


def test_a_machine_that_is_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, DOCUMENT)
    assert main(["health", "--config", str(config)]) == 69
    assert capsys.readouterr().out.splitlines() == [
        f"{name:15} down       does not run" for name in ("gateway-0", "cpq-listener", "delivery-queue", "console")
    ]
    assert main(["health", "--ready", "--json", "--config", str(config)]) == 69
    document = json.loads(capsys.readouterr().out)
    assert document["state"] == "failed"
    assert document["checks"][-1] == {
        "check": "dns",
        "state": "degraded",
        "text": "no daemon answers that could be asked",
    }
