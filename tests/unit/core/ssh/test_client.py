"""Fetching a file over SFTP from a real server: its bytes, a file that is not there, one that is too large."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from core.ssh import client
from core.ssh.splice import splice_to_address

USER = "ana"


class _Server(asyncssh.SSHServer):
    def __init__(self, key: str) -> None:
        self._key = key

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return ssh.same_key(self._key, key)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        return dest_host == "127.0.0.1" and splice_to_address(dest_host, dest_port, lambda: None)


async def _echo(process: asyncssh.SSHServerProcess[str]) -> None:
    process.stdout.write(f"ran {process.command}")
    process.exit(3)


class _Place:
    """A server on loopback with files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.key_file = folder / "key"
        self.key = ssh.ensure_key(self.key_file)
        self.host_key = ssh.make_key("host")
        self.port = 0

    async def fetch(self, path: str, timeout_s: float = 10, host_key: str = "") -> bytes:
        pinned = host_key or ssh.public_text(self.host_key)
        return await client.fetch_file("127.0.0.1", self.port, USER, self.key_file, pinned, path, timeout_s)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[_Place]:
    place = _Place(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    (files / "capture.pcap").write_bytes(bytes(range(256)) * 1000)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Server(ssh.public_text(place.key)),
        server_host_keys=[place.host_key],
        process_factory=_echo,
        sftp_factory=lambda chan: asyncssh.SFTPServer(chan, chroot=str(files).encode()),
    )
    place.port = server.get_port()
    yield place
    server.close()


async def test_a_file_comes_as_it_is(place: _Place) -> None:
    assert await place.fetch("capture.pcap") == bytes(range(256)) * 1000


async def test_a_file_that_is_not_there_is_said(place: _Place) -> None:
    with pytest.raises(ssh.SshError, match="No such file"):
        await place.fetch("nothing.pcap")


async def test_a_file_that_is_too_large_is_not_taken(place: _Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "OUTPUT_LIMIT", 1000)
    with pytest.raises(ssh.SshBroken, match="has more than"):
        await place.fetch("capture.pcap")


async def test_nothing_is_fetched_from_a_host_with_another_key(place: _Place) -> None:
    with pytest.raises(ssh.SshHostKeyChanged):
        await place.fetch("capture.pcap", host_key=ssh.public_text(ssh.make_key()))


async def test_a_command_runs_on_a_host_behind_another(place: _Place) -> None:
    pinned = ssh.public_text(place.host_key)
    stop = client.Stop("127.0.0.1", place.port, USER, place.key_file, pinned)
    result = await client.run_through([stop, stop, stop], "version", 20)
    assert (result.status, result.stdout) == (3, b"ran version")
    beyond = client.Stop("127.0.0.2", place.port, USER, place.key_file, pinned)
    with pytest.raises(ssh.SshError, match=r"127\.0\.0\.2"):
        await client.run_through([stop, beyond], "version", 20)
