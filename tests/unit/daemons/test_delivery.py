"""Delivery's settings: what a row of [[destination]] says is what its connections get."""

from pathlib import Path
from typing import get_args

import pytest

from core.smtp.client_settings import ConnectionSettings, Timeouts
from daemons.config import Esa
from daemons.delivery import DestinationTable, connection_settings, destination_resolver, name_resolver, patience
from daemons.initial import make
from daemons.machine import Machine
from mail.delivery.config import BounceProfileSection, DestinationSection
from mail.delivery.resolve import BadDestination
from mail.delivery.route import SmtpRoutes
from mail.delivery.security import Rule, level_settings
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.failure import Stage
from tests.support.dns_server import DnsServer


def table(*rows: DestinationSection) -> DestinationTable:
    return DestinationTable(rows, [BounceProfileSection(name="Short", max_retries=3)])


@pytest.mark.parametrize("mode", get_args(DestinationSection.model_fields["tls"].annotation))
def test_a_row_gives_its_level_of_tls(mode: str) -> None:
    found = table(DestinationSection.model_validate({"domain": "X.test", "tls": mode, "dane": False}))
    assert found.tls("x.test") == Rule(found.tls("x.test").level, dane=False, mta_sts=True)
    assert found.tls("x.test").level == mode
    assert found.tls("other.test") == Rule("preferred", dane=True, mta_sts=True)
    level_settings(found.tls("x.test").level)


def test_a_domain_in_no_row_has_what_default_says() -> None:
    one = table(DestinationSection(max_connections=7, ip_preference="require-v6", bounce_profile="short"))
    assert one.limits("other.test").connections == 7
    assert one.limits("other.test").profile.max_retries == 3
    assert one.family("other.test") == "require-v6"


def test_the_quarantine_channel_never_gives_up_and_never_bounces() -> None:
    profile = table(DestinationSection(max_connections=7)).limits("the.cpq.host").profile
    assert not profile.spent(10_000_000)
    assert profile.hard_bounce == "off"


def test_a_row_gives_its_limits_however_the_domain_is_written() -> None:
    row = DestinationSection(
        domain="Bücher.example",
        max_connections=5,
        max_messages_per_connection=2,
        recipient_limit=10,
        recipient_minutes=3,
        limit_type="mxip",
        limit_apply="gateway",
        bounce_profile="short",
    )
    for name in ("xn--bcher-kva.example", "bücher.example", "XN--BCHER-KVA.EXAMPLE."):
        limits = table(row).limits(name)
        assert (limits.connections, limits.messages_per_connection) == (5, 2)
        assert (limits.recipient_limit, limits.recipient_minutes) == (10, 3)
        assert (limits.per_address, limits.per_gateway, limits.profile.name) == (True, True, "Short")


def test_a_row_is_about_its_domain_and_not_about_those_below() -> None:
    assert table(DestinationSection(domain="x.test", max_connections=5)).limits("a.x.test").connections == 500


def test_what_a_row_leaves_out_is_as_in_default() -> None:
    found = table(
        DestinationSection(max_connections=7, recipient_minutes=5, bounce_profile="short"),
        DestinationSection(domain="x.test", recipient_limit=3),
    ).limits("x.test")
    assert (found.connections, found.recipient_limit, found.recipient_minutes) == (7, 3, 5)
    assert found.profile.name == "Short"


def test_the_watchdog_waits_longer_than_any_time_out_of_a_courier_that_is_in_a_hurry() -> None:
    timeouts = Timeouts(greeting_s=5, hello_s=5, envelope_s=5, command_s=5, final_s=5)
    settings = ConnectionSettings(ClientSettings("esa.test"), timeouts)
    found = patience(settings)
    assert found.step_s > timeouts.content_s
    assert found.open_s > 2 * 5 * (timeouts.connect_s + timeouts.tls_s + 4 * 5)


def test_the_time_out_of_commands_is_also_that_of_ehlo_and_starttls(tmp_path: Path) -> None:
    make("esa", tmp_path / "esa", hostname="esa.example.test")
    config = tmp_path / "esa" / "gatepost.toml"
    document = config.read_text()
    config.write_text(document[: document.index("[dns]")] + "[delivery]\ncommand_timeout_s = 7\n")
    machine = Machine.open(config)
    assert isinstance(machine.document, Esa)
    limits = connection_settings(machine, machine.document).timeouts.by_stage()
    assert {limits[stage] for stage in (Stage.EHLO, Stage.STARTTLS, Stage.MAIL, Stage.RCPT, Stage.COMMAND)} == {7}


@pytest.mark.parametrize("domain", ["loop.test", "[127.0.0.1]", "[127.200.0.1]"])
async def test_mail_for_a_machine_that_listens_on_the_wildcard_was_sent_to_itself(tmp_path: Path, domain: str) -> None:
    """Twenty passes, until the trace was too long."""
    make("esa", tmp_path / "esa", hostname="esa.example.test")
    config = tmp_path / "esa" / "gatepost.toml"
    text = config.read_text()
    async with DnsServer("loop.test. 60 IN MX 10 mx.test.", "mx.test. 60 IN A 127.0.0.1") as server:
        config.write_text(
            f'{text[: text.index("[dns]")]}[dns]\nservers = ["{server.address}"]\n'
            '[[listener]]\nname = "In"\naddress = "0.0.0.0"\nport = 25\n'
        )
        machine = Machine.open(config)
        document = machine.document
        assert isinstance(document, Esa)
        resolver = destination_resolver(
            machine, document, DestinationTable((), ()), SmtpRoutes(()), name_resolver(document)
        )
        with pytest.raises(BadDestination) as caught:
            await resolver.resolve(domain)
    assert caught.value.reply.enhanced == "5.4.6"
