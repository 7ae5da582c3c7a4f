"""`techsupport` in its batch forms; the dialogue is tested with the session."""

from typing import Any

from ops.cli.account import Caller, Role
from tests.support.appliance import NOW, Daemons, document

DISABLED = {"mode": "disabled", "tunnel": "not active", "port": None, "sessions": []}
ENABLED = {
    "mode": "tunnel",
    "tunnel": "open",
    "port": 2443,
    "since": NOW,
    "until": NOW + 604800,
    "sessions": [{"from": "203.0.113.9", "since": NOW}],
    "problem": "port 2025: the port does not answer",
    "attempts": [{"address": "192.0.2.1", "port": 2025, "verdict": "time-out", "advice": "choose another port"}],
}


async def test_status_has_the_stable_fields(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_status": DISABLED}):
        found = document(await run("techsupport status --json"))
        shown = await run("techsupport status")
    assert set(found) >= {"mode", "tunnel", "port", "since", "until", "seed_fingerprint", "sessions"}
    assert shown.output == "Service Access currently disabled.\nSerial Number: 42AB-CD"


async def test_status_while_support_is_in(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_status": ENABLED}):
        shown = await run("techsupport status")
    assert shown.output.splitlines() == [
        "Service Access currently ENABLED (1 current service logins)",
        "Tunnel option is active: open, port 2443.",
        "No new tunnel connections after: Sun Nov 29 02:21:02 2026 UTC",
        "Last problem: port 2025: the port does not answer",
        "  Tried 192.0.2.1 port 2025: time-out: choose another port",
        "  Logged in: 203.0.113.9 since Sun Nov 22 02:21:02 2026 UTC",
        "Serial Number: 42AB-CD",
    ]


async def test_the_console_names_the_engineers_that_are_in(daemons: Daemons, run: Any) -> None:
    session = {"role": "support", "identity": "ana@SR12345", "source": "the tunnel", "since_at": NOW}
    async with daemons.up(tunnel_client={"techsupport_status": ENABLED}):
        found = document(await run("techsupport status --json", sessions=lambda: [session]))
    assert found["sessions"] == [{"engineer": "ana@SR12345", "from": "the tunnel", "since": NOW}]


async def test_tunnel_and_sshaccess_say_which_mode_and_port(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_enable": ENABLED}):
        await run("techsupport TUNNEL --port 2443")
        await run("techsupport sshaccess")
    assert [args for _, _, args in daemons.asked] == [{"mode": "tunnel", "port": 2443}, {"mode": "sshaccess"}]


async def test_disable_says_so(daemons: Daemons, run: Any) -> None:
    async with daemons.up(tunnel_client={"techsupport_disable": DISABLED}):
        shown = await run("techsupport disable")
    assert shown.output.startswith("Success - Remote Access has been disabled.")


async def test_only_administrators_open_the_door_and_support_cannot_hold_it_open(run: Any) -> None:
    for role in (Role.OPERATOR, Role.GUEST, Role.SUPPORT):
        for line in ("techsupport tunnel", "techsupport sshaccess", "techsupport disable"):
            assert (await run(line, caller=Caller("x", role))).status == 77
