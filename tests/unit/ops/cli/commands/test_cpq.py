"""What a management host may ask: where the listener is, and the pairing exchange."""

import json
from typing import Any

from ops.cli.account import Caller, Role
from tests.support.appliance import Daemons, document

CLIENT = Caller("cpq-client", Role.GUEST, commands=frozenset({"cpq listener"}))


async def test_listener_gives_address_port_and_state(daemons: Daemons, run: Any) -> None:
    async with daemons.up(cpq_listener={"status": {"state": "listening"}}):
        assert document(await run("cpq listener --json", caller=CLIENT)) == {
            "address": "127.0.1.1",
            "port": 7025,
            "state": "listening",
        }
    async with daemons.up(cpq_listener={"status": {"state": "suspended"}}):
        assert document(await run("cpq listener --json"))["state"] == "suspended"
    assert document(await run("cpq listener --json"))["state"] == "down"


async def test_without_a_quarantine_channel_it_is_a_matter_of_configuration(run: Any) -> None:
    assert (await run("cpq listener", configuration=lambda: {})).status == 78


async def test_a_restricted_key_runs_only_its_set(run: Any) -> None:
    result = await run("version", caller=CLIENT)
    assert (result.status, result.error) == (77, "version: not in the command set of this key")


async def test_pair_hands_the_document_to_the_exchange(run: Any) -> None:
    async def exchange(request: dict[str, Any]) -> dict[str, Any]:
        return {"serial": "esa", "heard": request["serial"]}

    request = json.dumps({"serial": "sma"})
    by_stdin = document(await run("cpq pair --json", pair=exchange, stdin=request.encode()))
    by_word = document(await run(f"cpq pair '{request}' --json", pair=exchange))
    assert by_stdin == by_word == {"serial": "esa", "heard": "sma"}


async def test_pair_refuses_what_is_no_object_and_who_is_no_administrator(run: Any) -> None:
    async def exchange(request: dict[str, Any]) -> dict[str, Any]:
        return request

    for text in (b"", b"[1]", b"{", b"\xff"):
        assert (await run("cpq pair", pair=exchange, stdin=text)).status == 65
    assert (await run("cpq pair", caller=Caller("x", Role.OPERATOR))).status == 77
    assert (await run("cpq pair")).status == 69
