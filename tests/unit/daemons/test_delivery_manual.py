"""The examples of docs/delivery.md are right: each is a document that a gateway takes, or refuses as the page says."""

import re
from pathlib import Path

import pytest

from core.config.document import load_document
from core.errors import ConfigError
from daemons.config import Esa
from daemons.delivery import DestinationTable, smtp_routes, unsubscribe_list, virtual_gateways
from daemons.machine import Machine
from daemons.wiring import alternate_sources, filters_of
from mail.delivery.route import Way

MANUAL = (Path(__file__).parents[3] / "docs" / "delivery.md").read_text(encoding="utf-8")
APPLIANCE = '[appliance]\nrole = "esa"\nserial = "S"\nhostname = "esa.example.test"\n'


def blocks(section: str) -> list[str]:
    """Give the TOML examples of a section."""
    text = MANUAL.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


def load(folder: Path, text: str) -> Machine:
    file = folder / "gatepost.toml"
    file.write_text(APPLIANCE + text)
    return Machine(file, load_document(file, Esa))


def document_of(machine: Machine) -> Esa:
    assert isinstance(machine.document, Esa)
    return machine.document


@pytest.mark.parametrize(
    "text", [one for one in re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL) if "# refused" not in one]
)
def test_every_example_is_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "unsubscribed.txt").write_text("a@b.test\n")
    machine = load(tmp_path, text)
    document = document_of(machine)
    filters_of(machine, document)
    unsubscribe_list(machine, document)
    virtual_gateways(machine, document, lambda _line: None)


def test_the_refused_example_is_refused_in_the_words_of_the_page(tmp_path: Path) -> None:
    (text,) = [one for one in blocks("Destinations") if "# refused" in one]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    said = "\n".join(f"{one.key}: {one.reason}" for one in caught.value.problems)
    assert f"```\n{said}\n```" in MANUAL


def test_the_destinations_of_the_page_have_what_it_says(tmp_path: Path) -> None:
    document = document_of(load(tmp_path, blocks("Destinations")[0]))
    table = DestinationTable(document.destination, document.bounce_profile)
    big = table.limits("big.example")
    assert (big.recipient_limit, big.recipient_minutes, big.per_address, big.per_gateway) == (100, 1, True, True)
    assert big.profile.max_in_queue_s == 432_000
    assert table.limits("anything.test").connections == 100
    assert table.limits("partner.example").connections == 100
    assert table.tls("partner.example").level == "required-verify"


def test_the_routes_of_the_page_lead_where_it_says(tmp_path: Path) -> None:
    routes = smtp_routes(document_of(load(tmp_path, blocks("Routes")[0])))
    assert [host.priority for host in routes.lookup("example.com").hosts] == [0, 0, 10]
    assert routes.lookup("any.example.com").hosts[0].addresses_only
    assert [(host.name, host.port) for host in routes.lookup("archive.example.com").hosts] == [
        ("192.0.2.10", 2525),
        ("2001:db8::10", 2525),
    ]
    assert routes.lookup("dead.example.com").way is Way.DROP
    assert routes.lookup("partner.example").way is Way.DNS
    assert routes.lookup("elsewhere.test").hosts[0].name == "smarthost.example.net"


def test_the_virtual_gateways_of_the_page_are_chosen_as_it_says(tmp_path: Path) -> None:
    machine = load(tmp_path, blocks("Virtual gateways")[0])
    document = document_of(machine)
    table = alternate_sources(document)
    assert table.choose("10.20.1.1", "newsletter@example.test").match == "10.20.0.0/16"
    assert table.choose("192.0.2.1", "newsletter@example.test").gateway == "Bulk"
    assert table.choose("192.0.2.1", "bounces@subsidiary.example").gateway == "auto"
    assert table.choose("192.0.2.1", "x@subsidiary.example").gateway == "Bulk1"
    gateways = virtual_gateways(machine, document, lambda _line: None)
    assert gateways.source("").hostname == "esa.example.test"
    assert {gateways.source("Bulk").address for _ in range(2)} == {"127.0.1.2", "127.0.1.3"}


def test_the_unsubscribe_list_of_the_page_matches_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "unsubscribed.txt").write_text("")
    machine = load(tmp_path, blocks("Global unsubscribe")[0])
    found = unsubscribe_list(machine, document_of(machine))
    for address in (
        "joe@example.com",
        "postmaster@any.test",
        "a@closed.example",
        "a@very.old.example",
        "a@[192.0.2.7]",
    ):
        assert found.match(address), address
    assert found.match("a@else.test", "192.0.2.7")
    assert not found.match("a@old.example")
