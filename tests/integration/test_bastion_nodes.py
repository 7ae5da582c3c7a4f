"""Two bastions on one PostgreSQL: an engineer at the wrong one, takeover across nodes, death, no database."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import agreement, ssh
from tests.support import postgresql
from tests.support.bastion_nodes import PRESENCE_S, NodeMachine, nodes
from tests.support.bastion_store import engineer
from tests.support.lab import short_folder
from tests.support.need import needs
from tests.support.remote import CASE, NAME, Appliance, Engineer
from tests.support.service import running
from tests.support.waiting import until
from tunnel.bastion.store import CaseSerial, Enrolled, Grant, Store
from tunnel.bastion.store.postgresql import PostgresqlEngine
from tunnel.keyd.api import Published

pytestmark = [pytest.mark.slow, needs(postgresql.INITDB)]


def _wanted(appliance: Appliance) -> Enrolled:
    return Enrolled(
        serial=appliance.serial,
        tunnel_key=ssh.public_text(appliance.tunnel_key),
        host_key=ssh.public_text(appliance.host_key),
        exchange_key=agreement.encode(agreement.public_of(appliance.exchange_key)),
    )


async def _take_seed(store: Store, node: NodeMachine, appliance: Appliance, seed: str) -> None:
    told = await store.appliances.published(NAME)
    assert told is not None
    published = Published(fingerprint=told.fingerprint, mode=told.mode, key_id=told.key_id, day=told.day)
    key = agreement.encode(agreement.public_of(appliance.exchange_key))
    given = await node.keyd.grant(CASE, NAME, appliance_key=key, seed=seed, published=published)
    facts = {name: getattr(given, name) for name in ("grant_id", "fingerprint", "mode", "until_at")}
    await store.cases.grant(Grant(case=CASE, serial=NAME, given_at=time.time(), node=node.name, **facts))


@asynccontextmanager
async def _world(folder: Path, url: str) -> AsyncIterator[tuple[NodeMachine, NodeMachine, Store]]:
    with nodes(folder, url) as (north, south):
        store = Store(PostgresqlEngine(url))
        await until(lambda: _names(store, ["north", "south"]), within_s=40)
        yield north, south, store
        await store.close()


async def _names(store: Store, wanted: list[str]) -> bool:
    return [node.name for node in await store.seats.nodes()] == wanted


async def _seated(store: Store, serial: str) -> str:
    seat = await store.seats.of(serial)
    return seat.node if seat else ""


async def _who(engineer_: Engineer) -> Any:
    async with asyncio.timeout(60), engineer_.connect() as connection:
        return await connection.run("who", encoding=None)


async def test_an_engineer_at_the_wrong_bastion_is_relayed_and_a_dead_one_is_replaced() -> None:
    with postgresql.server() as server, short_folder() as folder:
        async with _world(folder, server.database()) as (north, south, store):
            appliance = Appliance(north, folder / "esa", port=north.ports[0], ports=(north.ports[0], south.ports[0]))  # type: ignore[arg-type]
            await store.appliances.enroll(_wanted(appliance))
            await store.engineers.put(engineer("ana"))
            await store.cases.open(CASE, [CaseSerial(serial=NAME)], ["ana"])
            client = appliance.client()
            ana = Engineer(south, folder / "ana")  # type: ignore[arg-type]
            async with running(appliance.endpoint, client):
                seed = (await client.enable({"mode": "tunnel"}))["seed"]
                await until(lambda: _is(_seated(store, NAME), "north"))
                refused = await _who(ana)
                assert b"no seed string" in refused.stderr
                await _take_seed(store, north, appliance, seed)
                result = await _who(ana)
                assert result.stdout.startswith(b'["ana", "SR12345"'), result.stderr
                await until(lambda: {"peer-relay", "peer-certify"} <= set(north.audit()))
                await until(lambda: {"session", "peer-asked"} <= set(south.audit()))
                assert "session" not in north.audit()

                north.kill("bastion")
                await until(lambda: _is(_seated(store, NAME), "south"))
                await until(lambda: _names(store, ["south"]), "a dead node is struck off")
                await _take_seed(store, south, appliance, seed)
                result = await _who(ana)
                assert result.stdout.startswith(b'["ana", "SR12345"'), result.stderr


async def _is(value: Any, wanted: str) -> bool:
    return bool(await value == wanted)


async def _dial(node: NodeMachine, serial: str, key: Any) -> asyncssh.SSHClientConnection:
    options = ssh.client_options(
        serial, ssh.known_hosts_line("bastion", node.public["host"]), host_key_alias="bastion", keys=[key]
    )
    connection = await asyncssh.connect("127.0.0.1", node.ports[0], config=None, options=options)
    await connection.forward_remote_port(serial, 22, "127.0.0.1", 9)
    return connection


async def test_the_newest_connection_wins_also_when_the_old_one_is_at_another_bastion() -> None:
    with postgresql.server() as server, short_folder() as folder:
        async with _world(folder, server.database()) as (north, south, store):
            key = ssh.make_key()
            host = ssh.public_text(ssh.make_key())
            await store.appliances.enroll(Enrolled(serial="sn-1", tunnel_key=ssh.public_text(key), host_key=host))
            old = await _dial(north, "sn-1", key)
            await until(lambda: _is(_seated(store, "sn-1"), "north"))
            new = await _dial(south, "sn-1", key)
            async with asyncio.timeout(30):
                await old.wait_closed()
            await until(lambda: _is(_seated(store, "sn-1"), "south"))
            await asyncio.sleep(PRESENCE_S)
            assert not new.is_closed()
            await until(lambda: "taken-over" in north.audit())
            new.close()
            await until(lambda: _is(_seated(store, "sn-1"), ""))


async def test_without_its_database_a_bastion_keeps_its_tunnels_refuses_new_ones_and_recovers() -> None:
    with postgresql.server() as server, short_folder() as folder:
        async with _world(folder, server.database()) as (north, _, store):
            key, other = ssh.make_key(), ssh.make_key()
            host = ssh.public_text(ssh.make_key())
            for serial, tunnel_key in (("sn-1", key), ("sn-2", other)):
                public = ssh.public_text(tunnel_key)
                await store.appliances.enroll(Enrolled(serial=serial, tunnel_key=public, host_key=host))
            kept = await _dial(north, "sn-1", key)
            await until(lambda: _is(_seated(store, "sn-1"), "north"))
            server.stop()
            with pytest.raises((asyncssh.Error, OSError)):
                await _dial(north, "sn-2", other)
            await until(lambda: "nobody new is let in" in north.said("bastion"))
            assert not kept.is_closed()
            server.start()
            await until(lambda: "answers again" in north.said("bastion"))
            await until(lambda: _is(_seated(store, "sn-1"), "north"))
            late = await _dial(north, "sn-2", other)
            assert not kept.is_closed()
            for connection in (kept, late):
                connection.close()
