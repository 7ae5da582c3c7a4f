"""What a bastion's operator sees of appliances and engineers."""

from typing import Any

from tests.support.appliance import NOW, Daemons, document

_TUNNELS = {
    "tunnels": [
        {
            "serial": "42ab-cd",
            "online": True,
            "since": NOW - 60,
            "last_seen_at": NOW,
            "source": "192.0.2.7:40112",
            "port": 443,
        }
    ],
    "away": ["77ef-01"],
}
_VISIT = {
    "id": "1",
    "engineer": "bob",
    "case": "SR7",
    "key_id": "bob@SR7",
    "serial": "42ab-cd",
    "mode": "recorded",
    "command": "",
    "source": "198.51.100.4:5000",
    "since": NOW,
}


async def test_tunnels_shows_the_connected_and_the_enrolled_that_are_away(run: Any, daemons: Daemons) -> None:
    async with daemons.up(bastion={"tunnels": _TUNNELS}):
        lines = (await run("tunnels", role="bastion")).output.splitlines()
        assert document(await run("tunnels --json", role="bastion")) == _TUNNELS
    assert " ".join(lines[1].split()) == "42ab-cd online 22 Nov 02:20 22 Nov 02:21 192.0.2.7:40112 to port 443"
    assert lines[2].split() == ["77ef-01", "away", "-", "-", "-"]


async def test_a_bastion_without_appliances_says_how_they_come(run: Any, daemons: Daemons) -> None:
    async with daemons.up(bastion={"tunnels": {"tunnels": [], "away": []}}):
        assert "gatepost bastion enroll" in (await run("tunnels", role="bastion")).output


async def test_sessions_names_engineer_case_and_appliance(run: Any, daemons: Daemons) -> None:
    async with daemons.up(bastion={"sessions": {"sessions": [_VISIT]}}):
        line = (await run("sessions", role="bastion")).output.splitlines()[1]
    assert line.split() == ["bob", "SR7", "42ab-cd", "22", "Nov", "02:21", "198.51.100.4:5000", "recorded", "console"]


async def test_a_bastion_that_is_down_and_an_appliance_say_so(run: Any) -> None:
    assert "bastion is not running" in (await run("tunnels", role="bastion")).error
    assert (await run("sessions", role="esa")).status == 77
