"""Who gets something from a bastion's listener for its peers, and who does not."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import clock, pki
from core.errors import GatepostError
from core.metrics import Counters
from tests.support.bastion_store import open_case
from tests.support.ports import free_ports
from tests.support.service import running
from tunnel.audit import AuditLog
from tunnel.bastion.peer.link import Links
from tunnel.bastion.peer.message import Certify, Drop, Relay
from tunnel.bastion.peer.node import PeerNode
from tunnel.bastion.peer.wire import contexts
from tunnel.bastion.presence import Presence
from tunnel.bastion.store import Grant, Node, Store, open_store
from tunnel.config import CaseSection
from tunnel.keyd.client import Keyd

KEY_ID = "ana@SR1#00000000-0000-0000-0000-000000000000"


def _identity(folder: Path, authority: tuple[bytes, bytes], name: str) -> Path:
    """Put a node's three files where its configuration looks for them."""
    keys = folder / name / "keys"
    keys.mkdir(parents=True)
    key, certificate = pki.issue_certificate(*authority, name)
    for file, content in (("peer_ca.crt", authority[1]), ("peer.crt", certificate), ("peer.key", key)):
        (keys / file).write_bytes(content)
    return folder / name


class _World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = pki.make_authority("bastions")
        self.port = free_ports(1)[0]
        self.section = CaseSection(node="north", peer_port=self.port)
        north = _identity(folder, self.authority, "north")
        self.store: Store = open_store("", north)
        self.audit_file = folder / "audit.jsonl"
        audit = AuditLog(self.audit_file)
        presence = Presence(audit, Counters(folder / "counters.json"))
        keyd = Keyd(folder / "keyd.sock")
        self.node = PeerNode(self.section, north, store=self.store, presence=presence, keyd=keyd, audit=audit)

    def links(self, name: str, authority: tuple[bytes, bytes] | None = None) -> Links:
        """Give the way of another node to this one."""
        directory = _identity(self.folder, authority or self.authority, name)
        if authority is not None:
            (directory / "keys" / "peer_ca.crt").write_bytes(self.authority[1])
        return Links(contexts(self.section, directory)[1], timeout_s=3)

    async def lease(self, name: str) -> None:
        await self.store.seats.lease(Node(name=name, epoch="e", address="", until_at=clock.now() + 60))

    def refused(self) -> list[str]:
        lines = [json.loads(line) for line in self.audit_file.read_text().splitlines()]
        return [line["why"] for line in lines if line["event"] == "peer-refused"]

    async def asks(self, links: Links, request: Any) -> str:
        """Give what north says to a request."""
        ask = {Relay: links.relay, Certify: links.certify, Drop: links.drop}[type(request)]
        with pytest.raises(GatepostError) as caught:
            await ask("north", f"127.0.0.1:{self.port}", request)
        return caught.value.text


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[_World]:
    made = _World(tmp_path)
    async with running(*made.node.services):
        yield made
    await made.store.close()


async def test_a_node_that_has_no_lease_or_another_authority_gets_nothing(world: _World) -> None:
    relay = Relay(serial="sn-1", key_id=KEY_ID)
    assert "no bastion south has a lease" in await world.asks(world.links("south"), relay)
    await world.lease("foreign")
    assert "has a lease" not in await world.asks(world.links("foreign", pki.make_authority("bastions")), relay)
    assert world.refused() == ["no bastion south has a lease here"]


async def test_what_a_node_says_of_an_engineer_is_checked_in_the_own_store(world: _World) -> None:
    await world.lease("south")
    links, relay = world.links("south"), Relay(serial="sn-1", key_id=KEY_ID)
    certify = Certify(serial="sn-1", key_id=KEY_ID, public_key="ssh-ed25519 AAAA")
    assert "ana is not known" in await world.asks(links, relay)
    await open_case(world.store)
    assert "not approved" in await world.asks(links, relay)
    await world.store.cases.approve("SR1", "eva")
    assert "no seed string" in await world.asks(links, certify)
    facts = {"fingerprint": "ab", "mode": "tunnel", "until_at": clock.now() + 60, "given_at": clock.now()}
    given = Grant(case="SR1", serial="sn-1", grant_id="g", node="west", **facts)  # type: ignore[arg-type]
    await world.store.cases.grant(given)
    assert "has no such grant" in await world.asks(links, certify)
    assert "has no tunnel at north" in await world.asks(links, relay)
    assert "no engineer and case" in await world.asks(links, Relay(serial="sn-1", key_id="ana"))
    await world.store.engineers.disable("ana")
    assert "disabled" in await world.asks(links, relay)


async def test_octets_that_are_no_request_end_the_connection(world: _World) -> None:
    directory = _identity(world.folder, world.authority, "south")
    context = contexts(world.section, directory)[1]
    for octets in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2{}", b"\0\0\0\0"):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=context, server_hostname="north")
        writer.write(octets)
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert await reader.read() == b""
        writer.close()


def test_certificates_that_cannot_be_used_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(GatepostError, match="gatepost bastion peer") as caught:
        contexts(CaseSection(peer_port=1), tmp_path)
    assert caught.value.status == 78
