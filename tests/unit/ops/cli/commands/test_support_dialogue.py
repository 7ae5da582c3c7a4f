"""The dialogue of `techsupport`, whole: what stands on the screen, and what reaches the tunnel client."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import GatepostError
from ops.cli.account import LOCAL, Caller, Role
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.session import Session
from tests.support.appliance import CONFIGURATION, NOW, Audit, Daemons, machine
from tests.support.golden import same_as_golden
from tests.support.operating import Screen

GOLDEN = Path(__file__).parent / "golden"
SEED = "2GTJ-0V3M-7QRX-9KWZ-B5FH"
DISABLED: dict[str, Any] = {"mode": "disabled", "tunnel": "disabled", "port": None, "sessions": []}
TUNNEL: dict[str, Any] = {
    "mode": "tunnel",
    "tunnel": "open",
    "port": 2443,
    "since": NOW,
    "until": NOW + 604800,
    "seed_fingerprint": "1f0e2d3c4b5a6978",
    "sessions": [],
}
SSHACCESS: dict[str, Any] = {**TUNNEL, "mode": "sshaccess", "tunnel": "disabled", "port": None, "until": None}


class Client:
    """A tunnel client: what it is told, it is."""

    def __init__(self, state: dict[str, Any] = DISABLED) -> None:
        self.state = state
        self.enabled: list[dict[str, Any]] = []

    async def _status(self, args: dict[str, Any]) -> Any:
        return self.state

    async def _enable(self, args: dict[str, Any]) -> Any:
        self.enabled.append(args)
        self.state = TUNNEL if args["mode"] == "tunnel" else SSHACCESS
        return {**self.state, "seed": args.get("seed", SEED)}

    async def _disable(self, args: dict[str, Any]) -> Any:
        self.state = DISABLED
        return self.state

    @property
    def verbs(self) -> dict[str, Any]:
        return {
            "techsupport_status": self._status,
            "techsupport_enable": self._enable,
            "techsupport_disable": self._disable,
        }


Talk = Callable[..., Any]


@pytest.fixture
def talk(daemons: Daemons, audit: Audit) -> Talk:
    def checked(text: str) -> None:
        if "password" in text:
            raise GatepostError("this seed string is easily guessed", 65)

    def near(addresses: Sequence[str]) -> None:
        if "192.0.2.7" in addresses:
            raise GatepostError("192.0.2.7 is in none of tunnel.hop_networks", 64)

    async def talked(client: Client, *lines: str, caller: Caller = LOCAL, shell: str = "support") -> str:
        tunnel = {**CONFIGURATION["tunnel"], "service_user": shell}
        more = {"check_seed": checked, "check_hops": near, "configuration": lambda: {**CONFIGURATION, "tunnel": tunnel}}
        screen = Screen(*lines)
        executor = Executor(registry(), machine(daemons.run, **more), audit)
        session = Session(executor, caller, screen, idle_s=60)
        async with daemons.up(tunnel_client=client.verbs):
            await session.run()
        assert screen.lines == []
        return screen.shown

    return talked


async def test_a_tunnel_with_a_seed_that_is_made(talk: Talk) -> None:
    client = Client()
    shown = await talk(client, "techsupport", "tunnel", "", "99", "2443", "", "", "", "y", "", "exit")
    same_as_golden(GOLDEN / "techsupport-tunnel-dialogue.txt", shown)
    assert client.enabled == [{"mode": "tunnel", "port": 2443}]


async def test_a_tunnel_with_an_own_seed_hops_and_a_question_before_each_session(talk: Talk, audit: Audit) -> None:
    client = Client()
    answers = ["2", "password1", "seven green bottles", "", "the sma", "10.1.1.5, 10.1.1.6", "y", "n", "y"]
    shown = await talk(client, "techsupport", "TUNNEL", *answers, "", "exit")
    assert "this seed string is easily guessed\n" in shown
    assert "'the' is not an address; give addresses of appliances" in shown
    assert client.enabled == [
        {"mode": "tunnel", "seed": "seven green bottles", "port": 2025, "hops": ["10.1.1.5", "10.1.1.6"], "ask": True}
    ]
    assert "bottles" not in "".join(audit.lines)


async def test_a_hop_that_may_not_be_reached_was_refused_only_after_all_the_questions(talk: Talk) -> None:
    client = Client()
    shown = await talk(client, "techsupport", "tunnel", "", "", "192.0.2.7", "10.1.1.5", "", "", "y", "", "exit")
    refused = shown.index("192.0.2.7 is in none of tunnel.hop_networks")
    assert refused < shown.index("asked before each session")
    assert client.enabled[0]["hops"] == ["10.1.1.5"]


async def test_a_login_shell_that_nobody_can_be_given_is_not_offered(talk: Talk) -> None:
    client = Client()
    shown = await talk(client, "techsupport", "tunnel", "", "", "", "", "y", "", "exit", shell="")
    assert "There is no login shell here: [tunnel] service_user is empty.\n" in shown
    assert "full login shell, besides" not in shown
    assert client.enabled == [{"mode": "tunnel", "port": 2025}]


async def test_access_without_a_tunnel_and_its_end_by_the_same_path(talk: Talk) -> None:
    client = Client()
    answers = ["", "", "", "y", "sshaccess", "disable", "y", "", "exit"]
    shown = await talk(client, "techsupport", "sshaccess", *answers)
    same_as_golden(GOLDEN / "techsupport-sshaccess-dialogue.txt", shown)
    assert client.enabled == [{"mode": "sshaccess"}]
    assert client.state is DISABLED


async def test_disable_stands_in_the_first_menu_only_while_there_is_something_to_disable(talk: Talk) -> None:
    client = Client(TUNNEL)
    shown = await talk(client, "techsupport", "disable", "y", "", "exit")
    before, after = shown.split("has been disabled")
    assert "- DISABLE - " in before
    assert "- DISABLE - " not in after


async def test_no_means_no(talk: Talk) -> None:
    client = Client()
    await talk(client, "techsupport", "sshaccess", "", "", "", "", "", "exit")
    assert client.enabled == []
    client = Client(TUNNEL)
    await talk(client, "techsupport", "disable", "", "", "exit")
    assert client.state is TUNNEL


async def test_those_who_are_in_or_wait_are_offered_by_their_number(talk: Talk, daemons: Daemons) -> None:
    people = {"sessions": [{"id": "s1", "engineer": "ana"}], "waiting": [{"id": "s2", "engineer": "ben"}]}
    one = {"engineer": "ben", "case": "SR1"}
    console = {"service_sessions": people, "service_approve": one, "service_kill": one}
    async with daemons.up(console=console):
        shown = await talk(Client(TUNNEL), "techsupport", "approve", "", "kill", "s1", "", "exit")
    asked = [(verb, args["id"]) for daemon, verb, args in daemons.asked if daemon == "console" and args]
    assert asked == [("service_approve", "s2"), ("service_kill", "s1")]
    assert "Which session (its ID)? [s2]> " in shown
    assert "Session s2 (ben SR1): approved." in shown


async def test_who_may_only_look_is_offered_only_that(talk: Talk) -> None:
    support = Caller("service", Role.SUPPORT, "the tunnel", "ana@SR12345")
    shown = await talk(Client(TUNNEL), "techsupport", "", "exit", caller=support)
    assert "- STATUS - " in shown
    assert "- DISABLE - " not in shown
    assert "- TUNNEL - " not in shown
