"""`techsupport` in its batch forms; the dialogue is in test_support_dialogue.py."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import LOCAL, Caller, Role
from ops.cli.commands import registry
from ops.cli.commands.support import access
from ops.cli.execute import Executor
from ops.cli.registry import Call
from tests.support.appliance import NOW, Audit, Daemons, document, machine
from tests.support.golden import same_as_golden

GOLDEN = Path(__file__).parent / "golden"
SEED = "2GTJ-0V3M-7QRX-9KWZ-B5FH"
DISABLED = {"mode": "disabled", "tunnel": "disabled", "port": None, "sessions": []}
ATTEMPTS = [
    {
        "address": "192.0.2.1",
        "port": 2025,
        "verdict": "smtp",
        "stage": "banner",
        "advice": "a mail server or ESMTP inspection answers: choose another port, or exempt this host from it",
        "took_ms": 12,
        "at": NOW,
        "way": "ssh",
    },
    {
        "address": "2001:db8:1234:5678:9abc:def0:1234:5678",
        "port": 2443,
        "verdict": "ours",
        "stage": "banner",
        "advice": "",
        "took_ms": 4031,
        "at": NOW,
        "way": "tls",
    },
    {
        "address": "192.0.2.1",
        "port": 2022,
        "verdict": "time-out",
        "stage": "tcp",
        "advice": "the port does not answer: a firewall drops it; choose another port",
        "took_ms": 5000,
        "at": NOW,
        "way": "ssh",
    },
]
PROBED = {"host": "upgrades.example.test", "attempts": ATTEMPTS}
ENABLED = {
    "mode": "tunnel",
    "tunnel": "open",
    "port": 2443,
    "since": NOW,
    "until": NOW + 604800,
    "seed_fingerprint": "1f0e2d3c4b5a6978",
    "sessions": [{"from": "203.0.113.9", "since": NOW}],
    "hops": ["10.1.1.5"],
    "ask": True,
    "shell": False,
    "problem": "port 2025: a mail server or ESMTP inspection answers: choose another port, or exempt this host from it",
    "attempts": ATTEMPTS,
}
PEOPLE = {
    "sessions": [
        {"id": "s1", "engineer": "ana", "case": "SR12345", "since": NOW, "from": "203.0.113.9", "kind": "console"},
        {
            "id": "s3",
            "engineer": "ana",
            "case": "SR12345",
            "since": NOW,
            "from": "203.0.113.9",
            "kind": "command",
            "what": "showconfig",
            "detached_since": NOW + 60,
        },
    ],
    "waiting": [
        {
            "id": "s2",
            "what": "ben, case SR12345 (ben@SR12345#0c1d!bastion) from the tunnel wants file transfer sftp",
            "engineer": "ben",
            "case": "SR12345",
            "since": NOW,
            "key_id": "ben@SR12345#0c1d!bastion",
            "from": "ben@SR12345#0c1d!bastion",
            "relayed": True,
            "kind": "files",
            "asked": "sftp",
        },
        {
            "id": "s4",
            "what": "eve, case SR12345 (eve@SR12345#77aa) from the tunnel wants the console",
            "engineer": "eve",
            "case": "SR12345",
            "since": NOW,
            "key_id": "eve@SR12345#77aa",
            "from": "eve@SR12345#77aa",
            "relayed": False,
            "kind": "console",
            "asked": "",
        },
    ],
}


async def test_status_has_the_stable_fields(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_status": DISABLED}):
        found = document(await run("techsupport status --json"))
        shown = await run("techsupport status")
    assert set(found) >= {
        "mode",
        "tunnel",
        "port",
        "since",
        "until",
        "seed_fingerprint",
        "sessions",
        "serial",
        "waiting",
    }
    assert shown.output == "Service Access currently disabled.\nSerial Number: 42AB-CD"


async def test_status_while_support_is_in_and_waits_fits_a_terminal(daemons: Daemons, run: Any) -> None:
    verbs = {"techsupport_status": ENABLED}
    async with daemons.up(tunnel_client=verbs, console={"service_sessions": PEOPLE}):
        shown = await run("techsupport status")
    same_as_golden(GOLDEN / "techsupport-status.txt", shown.output)
    assert max(len(line) for line in shown.output.splitlines()) <= 80


async def test_a_tunnel_that_is_down_says_what_is_wrong(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_status": {**ENABLED, "tunnel": "waiting"}}):
        shown = (await run("techsupport status")).output
    assert "\nLast problem: port 2025: a mail server or ESMTP inspection answers: choose\n" in shown


async def test_colours_are_for_terminals(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_status": ENABLED}):
        assert "\x1b" not in (await run("techsupport status")).output
        assert "\x1b[33mENABLED\x1b[0m (1 current" in (await run("techsupport status", width=80)).output


async def test_without_a_console_the_engineers_are_those_that_the_machine_knows(daemons: Daemons, run: Any) -> None:
    session = {"role": "support", "identity": "ana@SR12345", "source": "the tunnel", "since_at": NOW}
    async with daemons.up(tunnel_client={"techsupport_status": ENABLED}):
        found = document(await run("techsupport status --json", sessions=lambda: [session]))
    assert found["sessions"] == [{"engineer": "ana@SR12345", "from": "the tunnel", "since": NOW}]


async def test_a_console_that_fails_is_not_passed_over(daemons: Daemons, run: Any) -> None:
    from core.errors import GatepostError

    broken = {"service_sessions": GatepostError("the list is damaged", 70)}
    async with daemons.up(tunnel_client={"techsupport_status": ENABLED}, console=broken):
        assert (await run("techsupport status")).status == 70


async def test_every_term_of_an_activation_reaches_the_tunnel_client(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_enable": {**ENABLED, "seed": SEED}}):
        await run("techsupport TUNNEL --port 2443 --hops 10.1.1.5,10.1.1.6 --ask --shell --hours 24")
        await run("techsupport tunnel --hops none")
        await run("techsupport sshaccess --ask")
    assert [args for _, _, args in daemons.asked] == [
        {"mode": "tunnel", "port": 2443, "hops": ["10.1.1.5", "10.1.1.6"], "ask": True, "shell": True, "hours": 24},
        {"mode": "tunnel"},
        {"mode": "sshaccess", "ask": True},
    ]


async def test_the_seed_is_given_once_large_and_with_the_serial(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_enable": {**ENABLED, "seed": SEED}}):
        shown = await run("techsupport tunnel")
        assert document(await run("techsupport tunnel --json"))["seed"] == SEED
    same_as_golden(GOLDEN / "techsupport-enabled.txt", shown.output)


async def test_an_own_seed_comes_from_standard_input_and_reaches_no_log(
    daemons: Daemons, run: Any, audit: Audit
) -> None:
    async with daemons.up(tunnel_client={"techsupport_enable": ENABLED}):
        assert (await run("techsupport sshaccess --seed-stdin", stdin=b" my very own seed \r\n")).status == 0
    assert daemons.asked[0][2] == {"mode": "sshaccess", "seed": "my very own seed"}
    assert "own seed" not in "".join(audit.lines)


@pytest.mark.parametrize("typed", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
async def test_what_is_no_seed_on_standard_input_is_said_and_enables_nothing(
    daemons: Daemons, run: Any, typed: bytes
) -> None:
    async with daemons.up(tunnel_client={"techsupport_enable": ENABLED}):
        result = await run("techsupport tunnel --seed-stdin", stdin=typed)
    assert (result.status, daemons.asked) == (65, [])
    assert "standard input" in result.error


async def test_a_seed_on_the_command_line_is_refused(run: Any, audit: Audit) -> None:
    for line in (f"techsupport tunnel --seed {SEED}", f"techsupport tunnel {SEED}"):
        assert (await run(line)).status == 64
    assert SEED not in "".join(audit.lines)


async def test_a_tunnel_that_is_not_open_yet_says_why(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_enable": {**ENABLED, "tunnel": "waiting", "seed": SEED}}):
        shown = (await run("techsupport tunnel")).output
    assert "The tunnel is not open yet: port 2025: a mail server or ESMTP inspection" in shown
    assert "`techsupport status` shows how it is" in shown


async def test_access_ends_by_disable_and_by_the_mode_that_it_was_enabled_with(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_disable": DISABLED}):
        for line in ("techsupport disable", "techsupport sshaccess disable", "techsupport tunnel disable"):
            assert (await run(line)).output.startswith("Success - Remote Access has been disabled.")
    assert {verb for _, verb, _ in daemons.asked} == {"techsupport_disable"}
    assert len(daemons.asked) == 3
    assert (await run("techsupport tunnel disable --ask")).status == 64


async def test_disable_answers_when_nobody_is_in_any_more(daemons: Daemons, run: Any) -> None:
    left = [PEOPLE["sessions"], PEOPLE["sessions"][:1], []]

    async def sessions(args: dict[str, Any]) -> Any:
        return {"sessions": left.pop(0), "waiting": []}

    async with daemons.up(tunnel_client={"techsupport_disable": DISABLED}, console={"service_sessions": sessions}):
        found = document(await run("techsupport disable --json"))
    assert (found["mode"], found["sessions"], left) == ("disabled", [], [])


async def test_sessions_that_do_not_end_are_not_passed_over(
    daemons: Daemons, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_CUT_S", 0.2)
    async with daemons.up(tunnel_client={"techsupport_disable": DISABLED}, console={"service_sessions": PEOPLE}):
        shown = await run("techsupport disable")
    assert "2 support sessions have not ended yet" in shown.output


async def test_a_probe_shows_each_port_the_reason_and_the_one_to_take(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_probe": PROBED}):
        shown = await run("techsupport probe")
        assert document(await run("techsupport probe --json")) == PROBED
    same_as_golden(GOLDEN / "techsupport-probe.txt", shown.output)
    assert max(len(line) for line in shown.output.splitlines()) <= 80


async def test_a_probe_of_remembered_addresses_says_that_names_cannot_be_resolved(daemons: Daemons, run: Any) -> None:
    said = "names cannot be resolved: asked 192.0.2.53:53"
    async with daemons.up(tunnel_client={"techsupport_probe": {**PROBED, "problem": said}}):
        shown = await run("techsupport probe")
    assert f"Problem: {said}" in shown.output
    assert "tried from here" in shown.output


async def test_a_probe_without_its_daemon_names_the_daemon(run: Any) -> None:
    result = await run("techsupport probe")
    assert (result.status, "tunnel-client is not running" in result.error) == (69, True)


@dataclass
class Watched:
    """A command whose daemon answers when progress that begins with `words` has been seen, and not before."""

    words: str
    seen: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def progress(self, count: int, total: int, words: str) -> None:
        self.seen.append(words)
        if words.startswith(self.words):
            self.done.set()

    async def run(
        self, daemons: Daemons, audit: Audit, line: Sequence[str], verb: str, answer: Any, status: Any
    ) -> int:
        async def answered(args: dict[str, Any]) -> Any:
            await self.done.wait()
            return answer

        executor = Executor(registry(), machine(daemons.run), audit)
        call = Call(executor.appliance, LOCAL, executor.registry, progress=self.progress)
        async with daemons.up(tunnel_client={verb: answered, "techsupport_status": status}), asyncio.timeout(20):
            return (await executor.batch(call, line)).status


async def test_how_far_a_probe_is_can_be_seen(daemons: Daemons, audit: Audit) -> None:
    watched = Watched("1 roads tried")
    status = {**DISABLED, "last_probe": {"attempts": ATTEMPTS[:1]}}
    assert await watched.run(daemons, audit, ["techsupport", "probe"], "techsupport_probe", PROBED, status) == 0
    assert watched.seen[-1] == ""


async def test_what_a_tunnel_that_opens_slowly_is_at_can_be_seen(daemons: Daemons, audit: Audit) -> None:
    watched = Watched("looking up upgrades.example.test, ")
    status = {**ENABLED, "doing": "looking up upgrades.example.test"}
    assert await watched.run(daemons, audit, ["techsupport", "tunnel"], "techsupport_enable", ENABLED, status) == 0
    assert watched.seen[-1] == ""


async def test_status_shows_the_later_of_two_rounds(daemons: Daemons, run: Any) -> None:
    probe: dict[str, Any] = {"host": "x", "attempts": [{**ATTEMPTS[2], "at": NOW + 60}], "problem": ""}
    async with daemons.up(tunnel_client={"techsupport_status": {**ENABLED, "last_probe": probe}}):
        assert "smtp" not in (await run("techsupport status")).output
    probe["attempts"][0]["at"] = NOW - 60
    async with daemons.up(tunnel_client={"techsupport_status": {**ENABLED, "last_probe": probe}}):
        assert "smtp" in (await run("techsupport status")).output


async def test_a_probe_that_finds_no_port_or_no_address_says_so(daemons: Daemons, run: Any) -> None:
    answers = [
        {"host": "upgrades.example.test", "attempts": [ATTEMPTS[0]]},
        {"host": "upgrades.example.test", "attempts": [], "problem": "the name cannot be resolved; asked: 127.0.0.1"},
    ]

    async def probe(args: dict[str, Any]) -> Any:
        return answers.pop(0)

    async with daemons.up(tunnel_client={"techsupport_probe": probe}):
        assert "No port leads to the bastion" in (await run("techsupport probe")).output
        shown = (await run("techsupport probe")).output
    assert shown == "upgrades.example.test: the name cannot be resolved; asked: 127.0.0.1"


async def test_only_administrators_open_the_door_and_support_cannot_hold_it_open(run: Any) -> None:
    for role in (Role.OPERATOR, Role.GUEST, Role.SUPPORT):
        for line in ("techsupport tunnel", "techsupport sshaccess", "techsupport disable"):
            assert (await run(line, caller=Caller("x", role))).status == 77
