"""Finding commands by their words, and the whole registry held to a few rules."""

import pytest

from ops.cli.account import Role
from ops.cli.argument import UsageProblem
from ops.cli.commands import registry


def test_commands_are_found_by_one_or_two_words_in_any_case() -> None:
    found, left = registry().find(["Quarantine", "LIST", "--limit", "5"])
    assert (found.name, left) == ("quarantine list", ["--limit", "5"])
    found, left = registry().find(["status", "detail"])
    assert (found.name, left) == ("status", ["detail"])
    assert registry().find(["techsupport"])[0].run is None


@pytest.mark.parametrize("words", [[], ["bogus"], ["quarantine", "peek"], ["cpq"]])
def test_what_is_no_command_is_a_usage_problem(words: list[str]) -> None:
    with pytest.raises(UsageProblem) as caught:
        registry().find(words)
    assert caught.value.status == 64


def test_nothing_that_changes_the_machine_is_open_to_guests() -> None:
    looking = {"status", "tophosts", "hoststatus", "showrecipients", "version", "help", "quit", "exit", "cpq listener"}
    looking |= {"quarantine", "quarantine list", "listenerconfig", "listenerconfig list"}
    looking |= {"workqueue", "workqueue status", "workqueue rate"}
    looking |= {"rate", "hostrate", "topin", "dnsstatus", "metrics"}
    assert {item.name for item in registry().all() if Role.GUEST in item.roles} == looking


def test_every_command_says_what_it_does_and_every_argument_what_it_is() -> None:
    for item in registry().all():
        assert item.summary.endswith("."), item.name
        assert item.run is None or item.details, item.name
        assert all(one.help.text for one in item.parameters), item.name
