"""`listenerconfig list` never shows the hidden listener, `showconfig` always does and masks secrets."""

import tomllib
from typing import Any

import pytest

from ops.cli.commands.configuration import mask
from tests.support.appliance import Daemons, document

STATES = [{"name": "InboundMail", "state": "listening"}, {"name": "OutboundMail", "state": "suspended"}]


@pytest.mark.parametrize("answer", [STATES, {"listeners": STATES}])
async def test_listeners_are_listed_with_their_state(daemons: Daemons, run: Any, answer: Any) -> None:
    async with daemons.up(gateway_0={"listeners": answer}):
        result = await run("listenerconfig list")
    assert result.output.splitlines() == [
        "Currently configured listeners:",
        "1. InboundMail (on 127.0.1.1) SMTP Port 2525 Public",
        "2. OutboundMail (on 127.0.1.1) SMTP Port 2526 Private (suspended)",
    ]


async def test_without_a_gateway_the_listeners_are_still_listed(run: Any) -> None:
    found = document(await run("listenerconfig list --json"))
    assert [item["state"] for item in found["listeners"]] == ["unknown", "unknown"]
    assert "cpq" not in str(found)


async def test_showconfig_shows_the_hidden_listener_and_no_secret(run: Any) -> None:
    result = await run("showconfig")
    shown = tomllib.loads(result.output)
    assert shown["listener"][-1] == {"name": "cpq_listener", "kind": "cpq", "address": "127.0.1.1", "port": 7025}
    assert shown["directory"] == {"bind_password": "*****", "url": "ldap://x"}
    assert "hunter2" not in result.output


def test_secrets_are_masked_wherever_they_stand() -> None:
    found = mask(
        {
            "a": [{"client_secret": "x", "tokens": 5}],
            "text": "-----BEGIN PRIVATE KEY-----",
            "keys": ["ssh-ed25519 AAAA"],
            "api-token": "t",
            "password": "",
        }
    )
    assert found == {
        "a": [{"client_secret": "*****", "tokens": 5}],
        "text": "*****",
        "keys": ["ssh-ed25519 AAAA"],
        "api-token": "*****",
        "password": "",
    }
