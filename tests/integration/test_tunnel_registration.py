"""Registration over the control channel: crashes at each step, clones, refusals, what disabling tells the bastion."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from core.runtime import spawn
from tests.support.remote import NAME, Appliance, Support, connected
from tests.support.service import running
from tests.support.waiting import until
from tunnel.control_message import (
    SUBSYSTEM,
    Bye,
    Frames,
    FromBastion,
    Granted,
    Refused,
    Register,
    decode_from_appliance,
    encode,
)


class _Crash(BaseException):
    """The process ends here."""


def _generation(appliance: Appliance) -> int:
    path = appliance.directory / "state" / "generation.json"
    return int(json.loads(path.read_text())["generation"]) if path.exists() else 0


async def _open(client: Any) -> Any:
    status = await client.status({})
    return status if status["tunnel"] == "open" else None


async def _verdict(client: Any, name: str) -> Any:
    status = await client.status({})
    return status if any(each["verdict"] == name for each in status["attempts"]) else None


POINTS = ("generation.granted", "generation.durable")
"""Where a client may be killed: its generation is granted, but not durable; it is durable, but not confirmed."""


async def _once(client: Any) -> None:
    """Let a client make one round and end, as if its process did."""
    async with running(client):
        await client.enable({"mode": "tunnel"})
        await until(lambda: _open(client))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_between_two_steps_leaves_both_ends_able_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, restarted: bool
) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await _enrolled(appliance, support)
    async with running(*support.services):
        await _once(appliance.client())
    before = _generation(appliance)
    support.build()

    def crash(at: str) -> None:
        if at == point:
            raise _Crash(at)

    async with running(*support.services):
        with monkeypatch.context() as patched:
            patched.setattr("tunnel.appliance.registration.killpoint", crash)
            with pytest.raises(BaseExceptionGroup) as caught:
                await _once(appliance.client())
            assert caught.group_contains(_Crash)
        assert _generation(appliance) == before + (point == "generation.durable")
        if not restarted:
            await _goes_on(support, appliance, before)
    if restarted:
        support.build()
        async with running(*support.services):
            await _goes_on(support, appliance, before)


async def _goes_on(support: Support, appliance: Appliance, before: int) -> None:
    client = appliance.client()
    async with running(client):
        await until(lambda: _open(client))
        assert _generation(appliance) > before
    events = [each["event"] for each in support.audit()]
    assert "clone" not in events
    assert events.count("registered") == 2


async def test_a_clone_freezes_the_serial_and_status_says_what_to_do(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await _enrolled(appliance, support)
    async with running(*support.services):
        await _once(appliance.client())
        shutil.copytree(tmp_path / "esa", tmp_path / "clone")
        await _once(appliance.client())
        clone = Appliance(support, tmp_path / "clone")
        for machine in (clone, appliance):
            client = machine.client()
            async with running(client):
                await client.enable({"mode": "tunnel"})
                status = await until(lambda client=client: _verdict(client, "frozen"))
                assert status["tunnel"] in ("waiting", "connecting")
                assert "ask support to look and to thaw it" in status["problem"]
        assert (await support.bastion.tunnels({}))["tunnels"] == []
        assert [each["serial"] for each in support.audit() if each["event"] == "clone"] == [NAME]


async def test_enabling_anew_cuts_the_old_activation_and_registers_a_new_one(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, client):
        first = await client.status({})
        second = await client.enable({"mode": "tunnel", "hops": ["10.1.1.5"], "ask": True})
        assert second["seed"]
        assert second["seed_fingerprint"] != first["seed_fingerprint"]

        def registrations() -> list[dict[str, Any]]:
            return [each for each in support.audit() if each["event"] == "registered"]

        await until(lambda: len({each["activation"] for each in registrations()}) == 2)
        await until(support.online)
        registered = registrations()
        assert registered[-1]["hops"] == ["10.1.1.5"]
        assert registered[-1]["fingerprint"] == second["seed_fingerprint"]
        assert "seed" not in await client.status({})


async def test_disabling_tells_the_bastion(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _, client):
        activation = [each for each in support.audit() if each["event"] == "registered"][-1]["activation"]
        await client.disable({})
        await until(lambda: any(each["event"] == "withdrawn" for each in support.audit()))
        assert [each["activation"] for each in support.audit() if each["event"] == "withdrawn"] == [activation]


async def test_no_support_key_is_refused_with_the_key_to_set(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    client = Appliance(support, tmp_path / "esa", support_keys=()).client()
    with pytest.raises(Exception, match=r"tunnel\.support_keys"):
        await client.enable({"mode": "tunnel"})
    assert (await client.status({}))["mode"] == "disabled"


async def _enrolled(appliance: Appliance, support: Support) -> None:
    result = appliance.enroll(support)
    if isinstance(result, Awaitable):
        await result


Answer = Callable[[Any], FromBastion | bytes | None]


class _Scripted(asyncssh.SSHServer):
    """A bastion whose control channel answers as a test says; None as answer: it knows no such subsystem."""

    def __init__(self, answer: Answer | None, log: list[tuple[float, Any]]) -> None:
        self._answer = answer
        self._log = log

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True

    def session_requested(self) -> Any:
        if self._answer is None:
            return False
        return self._conn.create_server_channel(encoding=None), _Control(self._answer, self._log)

    def server_requested(self, listen_host: str, listen_port: int) -> Any:
        self._log.append((asyncio.get_running_loop().time(), "name"))
        return _Name()


class _Name(asyncssh.SSHListener):
    def get_port(self) -> int:
        return 22

    def close(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


class _Control(asyncssh.SSHServerSession[bytes]):
    def __init__(self, answer: Answer, log: list[tuple[float, Any]]) -> None:
        self._answer, self._log, self._frames = answer, log, Frames()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == SUBSYSTEM

    def data_received(self, data: bytes, datatype: Any) -> None:
        for frame in self._frames.receive(data):
            message = decode_from_appliance(frame)
            self._log.append((asyncio.get_running_loop().time(), message))
            answer = self._answer(message)
            if answer is not None:
                self._chan.write(answer if isinstance(answer, bytes) else encode(answer))


@asynccontextmanager
async def _scripted(
    folder: Path, answer: Answer | None, **settings: Any
) -> AsyncIterator[tuple[Any, list[tuple[float, Any]]]]:
    """Run an appliance against a bastion that answers as the test says."""
    support = Support(folder / "bastion")
    log: list[tuple[float, Any]] = []
    key = ssh.make_key()
    options = ssh.server_options(
        lambda: _Scripted(answer, log), [key], version="Gatepost_1.0 GatepostTunnels1", keepalive_s=15
    )
    server = await asyncssh.listen("127.0.0.1", support.ports[0], config=None, options=options)
    changes = {"bastion_cas": (), "bastion_keys": (ssh.public_text(key),), "registration": "required", **settings}
    client = Appliance(support, folder / "esa", ports=(support.ports[0],), **changes).client()
    try:
        async with running(client):
            yield client, log
    finally:
        server.close()
        await server.wait_closed()


def _granted(message: Any) -> FromBastion | None:
    if isinstance(message, Register):
        return Granted(generation=message.generation + 1, nonce="ab" * 16, until_at=message.until_at)
    return None


async def test_the_new_generation_is_confirmed_before_the_name_is_asked_for(tmp_path: Path) -> None:
    async with _scripted(tmp_path, _granted) as (client, log):
        status = await client.enable({"mode": "tunnel"})
        assert status["tunnel"] == "open"
        kinds = [getattr(type(what), "__name__", "") if what != "name" else "name" for _, what in log]
        assert kinds == ["Register", "Confirm", "name"]
        register = log[0][1]
        assert (register.series, register.fingerprint) == ("c", status["seed_fingerprint"])
        assert register.until_at == status["until"]


async def test_a_bastion_without_a_control_channel_is_taken_only_where_that_is_configured(tmp_path: Path) -> None:
    async with _scripted(tmp_path / "one", None) as (client, log):
        status = await client.enable({"mode": "tunnel"})
        assert status["tunnel"] != "open"
        assert "tunnel.registration = optional" in status["problem"]
        assert log == []
    async with _scripted(tmp_path / "two", None, registration="optional") as (client, log):
        assert (await client.enable({"mode": "tunnel"}))["tunnel"] == "open"


async def test_the_wait_that_the_bastion_asks_for_is_kept(tmp_path: Path) -> None:
    def refuse(_message: Any) -> FromBastion:
        return Refused(why="come later", retry_after_s=0.6)

    async with _scripted(tmp_path, refuse) as (client, log):
        status = await client.enable({"mode": "tunnel"})
        assert "(come later)" in status["problem"]
        await until(lambda: len(log) > 1)
        assert log[1][0] - log[0][0] >= 0.6


async def test_a_bastion_that_says_good_bye_is_left_alone_for_as_long_as_it_asks(tmp_path: Path) -> None:
    def bye(message: Any) -> bytes | None:
        granted = _granted(message)
        return encode(granted) + encode(Bye(retry_after_s=0.7)) if granted else None

    async with _scripted(tmp_path, bye) as (client, log):
        assert (await client.enable({"mode": "tunnel"}))["tunnel"] == "open"
        begun = asyncio.get_running_loop().time()
        client._link._connection.abort()
        await until(lambda: len(log) > 3)
        assert log[3][0] - begun >= 0.7


@pytest.mark.parametrize(
    "answer",
    [
        (2**32 - 1).to_bytes(4, "big"),
        (5).to_bytes(4, "big") + b"hello",
        b"\0\0\0\2{}" * 10_000,
        encode(Refused(why="no")) * 5000,
    ],
)
async def test_nonsense_on_the_control_channel_is_a_verdict_and_not_a_crash(tmp_path: Path, answer: bytes) -> None:
    async with _scripted(tmp_path, lambda _message: answer) as (client, _):
        status = await client.enable({"mode": "tunnel"})
        assert status["tunnel"] != "open"
        assert [each["verdict"] for each in status["attempts"]] == ["register"]


async def test_a_round_that_ends_after_access_was_enabled_anew_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    """Its rows were shown without its problem, or its connection was held, which speaks for the former activation."""
    async with _scripted(tmp_path, _granted) as (client, _log):
        dial, given = client._dialler.dial, asyncio.Queue[Any]()

        async def stubborn(*words: Any) -> Any:
            client._dialler.dial = dial
            result = await dial(*words)
            given.put_nowait(result)
            with contextlib.suppress(asyncio.CancelledError):  # it was about to give its result
                await asyncio.Event().wait()
            return result

        client._dialler.dial = stubborn
        first = spawn(client.enable({"mode": "tunnel"}), "first")
        former = (await given.get()).link
        assert (await client.enable({"mode": "tunnel"}))["tunnel"] == "open"
        assert client._link is not former
        await former.wait_closed()
        await first


async def test_a_generation_that_cannot_be_written_is_not_confirmed(tmp_path: Path) -> None:
    async with _scripted(tmp_path, _granted) as (client, log):
        blocked = tmp_path / "esa" / "state" / "generation.json"
        blocked.mkdir()
        status = await client.enable({"mode": "tunnel"})
        assert "cannot be written" in status["problem"]
        assert {type(what).__name__ for _, what in log} == {"Register"}
        blocked.rmdir()
        await until(lambda: _open(client))
