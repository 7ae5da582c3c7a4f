"""Finding commands by their words, and the whole registry held to a few rules."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from daemons.document import every_command
from ops.cli.account import LOCAL, Role
from ops.cli.appliance import Appliance
from ops.cli.argument import UsageProblem, parameters_of, parse
from ops.cli.commands import registry
from ops.cli.registry import Call, Command, Document, Registry
from tests.support.appliance import machine


def test_commands_are_found_by_one_or_two_words_in_any_case() -> None:
    found, left = registry().find(["Quarantine", "LIST", "--limit", "5"])
    assert (found.name, left) == ("quarantine list", ["--limit", "5"])
    found, left = registry().find(["status", "detail"])
    assert (found.name, left) == ("status", ["detail"])
    assert registry().find(["techsupport"])[0].run is None


def test_names_of_other_releases_lead_to_the_command_and_are_not_completed() -> None:
    found, left = registry().find(["TcpDump", "start", "--duration", "5s"])
    assert (found.name, left) == ("packetcapture start", ["--duration", "5s"])
    assert every_command().find(["tlsconfig"])[0].name == "sslconfig"
    assert every_command().find(["tzconfig", "Europe/Rome"])[0].name == "settz"
    assert registry().complete("tcp", machine(Path()), LOCAL) == []


@pytest.mark.parametrize("words", [[], ["bogus"], ["quarantine", "peek"], ["cpq"]])
def test_what_is_no_command_is_a_usage_problem(words: list[str]) -> None:
    with pytest.raises(UsageProblem) as caught:
        registry().find(words)
    assert caught.value.status == 64


def test_nothing_that_changes_the_machine_is_open_to_guests() -> None:
    looking = {"status", "tophosts", "hoststatus", "showrecipients", "version", "help", "quit", "exit", "cpq listener"}
    looking |= {"workqueue rate", "rate", "hostrate", "topin", "dnsstatus", "metrics", "displayalerts"}
    looking |= {"grep", "tail", "findevent", "sslconfig verify", "ntpconfig"}
    own = {"passwd", "totp", "whoami"}
    shown = {"list", "print", "detail", "status", "settings", "headers"}
    for item in every_command().all():
        if Role.GUEST in item.roles and item.run is not None:
            assert item.name in looking | own or item.words[-1] in shown, item.name


def test_every_command_says_what_it_does_and_every_argument_what_it_is() -> None:
    for item in every_command().all():
        assert item.summary.endswith("."), item.name
        assert item.run is None or item.details, item.name
        assert all(one.help.text for one in item.parameters), item.name


async def _greet(call: Call, name: str, word: str = "", *, loud: bool = False) -> Document:
    return {"said": f"{word} {name}{'!' if loud else ''}", "places": list(call.places)}


def _known(appliance: Appliance, before: Sequence[str]) -> Sequence[str]:
    return ["InboundMail", "OutboundMail"] if not before else []


def _placed() -> Registry:
    names = ("greeter", "greeter edit", "greeter edit NAME", "greeter edit NAME policy say", "greeter edit all")
    menus = {"greeter", "greeter edit NAME"}
    return Registry(
        Command(name, "Greet.", None if name in menus else _greet, parameters_of(_greet), known=_known)
        for name in names
    )


def test_a_place_in_a_name_takes_any_word_and_becomes_the_first_argument() -> None:
    found, left = _placed().find(["Greeter", "EDIT", "InboundMail", "Policy", "say", "hello", "--loud"])
    assert found.name == "greeter edit NAME policy say"
    assert parse(found.parameters, left) == {"name": "InboundMail", "word": "hello", "loud": True}
    assert found.usage == "greeter edit NAME policy say [WORD] [--loud]"


def test_a_name_in_full_comes_before_a_place_and_a_shorter_command_takes_what_fits_nothing_longer() -> None:
    assert _placed().find(["greeter", "edit", "all", "x"]) == (_placed().named("greeter edit all"), ["x"])
    assert _placed().find(["greeter", "edit", "In", "--loud"])[0].name == "greeter edit"
    assert _placed().find(["greeter", "edit", "In"]) == (_placed().named("greeter edit NAME"), ["In"])


def test_an_operation_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageProblem, match=r"greeter peek: no such operation; there are: greeter edit, .*say"):
        _placed().find(["greeter", "peek"])


def test_what_there_is_completes_a_place(tmp_path: Path) -> None:
    complete, appliance = _placed().complete, machine(tmp_path)
    assert complete("greeter edit I", appliance, LOCAL) == ["InboundMail"]
    assert complete("greeter edit OutboundMail ", appliance, LOCAL) == ["--loud", "policy"]
    assert complete("greeter edit X policy say --", appliance, LOCAL) == ["--loud"]
