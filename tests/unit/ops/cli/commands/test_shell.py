"""Help and version follow the caller and the machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import Caller, Role
from tests.support.appliance import NOW, document
from tests.support.golden import same_as_golden

GOLDEN = Path(__file__).parent / "golden"


async def test_version_has_the_stable_fields(run: Any) -> None:
    stable = {
        "product": "Gatepost",
        "version": "0.1.0",
        "serial": "42AB-CD",
        "role": "esa",
        "hostname": "esa.example.test",
    }
    found = document(await run("version --json"))
    assert {key: found[key] for key in stable} == stable


async def test_help_lists_what_the_caller_may_run_here(run: Any) -> None:
    guest = document(await run("help --json", caller=Caller("g", Role.GUEST)))
    names = {item["name"] for item in guest["commands"]}
    assert {"status", "help", "exit", "tophosts"} <= names
    assert not names & {"suspend", "showconfig", "techsupport tunnel", "quarantine list"}


async def test_help_of_a_command_looks_as_it_did(run: Any) -> None:
    same_as_golden(GOLDEN / "help.txt", (await run("help", width=80)).output)
    same_as_golden(GOLDEN / "help-quarantine.txt", (await run("help quarantine", role="sma")).output)
    assert (await run("help nothing")).status == 64


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ("status --help", "help status"),
        ("status -h", "help status"),
        ("Quarantine LIST --limit 5 --help", "help quarantine list"),
        ("status --help --json", "help status --json"),
        ("--help", "help"),
        ("tcpdump --help", "help packetcapture"),
        ("help --help", "help help"),
    ],
)
async def test_an_option_asks_for_help_too(run: Any, asked: str, same: str) -> None:
    found, wanted = await run(asked, role="sma"), await run(same, role="sma")
    assert (found.status, found.error) == (0, "")
    if asked.endswith("--json"):
        assert json.loads(found.output) == json.loads(wanted.output)
    else:
        assert found.output == wanted.output


async def test_help_is_for_those_who_may_and_an_argument_can_be_called_so(run: Any) -> None:
    guest = await run("suspend --help", caller=Caller("g", Role.GUEST))
    assert (guest.status, guest.output) == (77, "")
    bounded = await run("version --help", caller=Caller("c", Role.OPERATOR, commands=frozenset({"version"})))
    assert (bounded.status, bounded.output) == (77, "")
    assert (await run("bogus --help")).status == 64
    assert (await run("hoststatus -- --help")).status == 69


async def test_help_of_a_command_with_a_name_in_it(run: Any) -> None:
    command = "listenerconfig edit InboundMail hostaccess print"
    wanted = "listenerconfig edit NAME hostaccess print"
    for line in (f"help {command}", f"help {wanted}", f"{command} --help"):
        assert (await run(line)).output.splitlines()[0] == wanted
    below = (await run("listenerconfig edit InboundMail hostaccess --help")).output
    assert wanted in below
    assert "listenerconfig edit NAME hostaccess import" in below


async def test_help_of_a_command_of_another_machine_says_where_it_runs(run: Any) -> None:
    result = await run("help quarantine list", role="esa")
    assert (result.status, result.error) == (
        77,
        "quarantine list: not a command of this machine (esa); it runs on: sma",
    )


async def test_who_shows_sessions(run: Any) -> None:
    session = {
        "user": "service",
        "role": "support",
        "identity": "ana@SR1",
        "source": "the tunnel",
        "since_at": NOW,
        "idle_s": 61.0,
        "what": "cli",
    }
    same_as_golden(GOLDEN / "who.txt", (await run("who", sessions=lambda: [session])).output)
    assert (await run("who")).output == "Nobody is logged in."
