"""core.ssh.option against a server and a home of its own: what asyncssh would do unasked, and when a peer is dead."""

import asyncio
import importlib.metadata
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from core.ssh.option import server_options

ROOT = Path(__file__).parents[4]


class _Server(asyncssh.SSHServer):
    """Lets one key in."""

    def __init__(self, key: str, came: list[Any]) -> None:
        self._key, self._came = key, came

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._came.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return ssh.public_text(key) == self._key


@asynccontextmanager
async def _serving(key: asyncssh.SSHKey, keepalive_s: float = 15) -> AsyncIterator[tuple[int, str, list[Any]]]:
    """Give port, known_hosts text and the connections that came."""
    host, came = ssh.make_key(), list[Any]()
    options = server_options(lambda: _Server(ssh.public_text(key), came), [host], keepalive_s=keepalive_s)
    async with asyncssh.listen("127.0.0.1", 0, config=None, options=options) as acceptor:
        yield acceptor.get_port(), ssh.known_hosts_line("here", ssh.public_text(host)), came


def test_an_asyncssh_before_2_24_1_is_not_taken() -> None:
    """Older ones could set the wrong user, leak a key's options to the next try, and leave a chroot."""
    wanted = re.search(r'"asyncssh>=(\d+)\.(\d+)\.(\d+)[,"]', (ROOT / "pyproject.toml").read_text())
    assert wanted is not None
    assert tuple(map(int, wanted.groups())) >= (2, 24, 1)
    assert tuple(map(int, importlib.metadata.version("asyncssh").split("."))) >= (2, 24, 1)


async def test_keys_and_settings_of_the_users_home_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would take the key that lies there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key, home = ssh.make_key(), tmp_path / ".ssh"
    home.mkdir()
    ssh.write_key(home / "id_ed25519", key)
    async with _serving(key) as (port, known, _):
        (home / "known_hosts").write_text(known + "\n")
        (home / "config").write_text(f"Host *\n  User x\n  IdentityFile {home / 'id_ed25519'}\n")
        options = ssh.client_options("ana", known, host_key_alias="here")
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect("127.0.0.1", port, config=None, options=options)
        another = ssh.known_hosts_line("here", ssh.public_text(ssh.make_key()))
        options = ssh.client_options("ana", another, host_key_alias="here", keys=[key])
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await asyncssh.connect("127.0.0.1", port, config=None, options=options)
        options = ssh.client_options("ana", known, host_key_alias="here", keys=[key])
        async with asyncssh.connect("127.0.0.1", port, config=None, options=options) as connection:
            assert connection.get_extra_info("username") == "ana"


@pytest.mark.parametrize("silent", ["client", "server"])
async def test_whoever_falls_silent_is_given_up_after_the_third_keepalive(silent: str) -> None:
    key, interval_s = ssh.make_key(), 0.1
    often, never = interval_s, 300
    async with _serving(key, often if silent == "client" else never) as (port, known, came):
        options = ssh.client_options(
            "ana", known, host_key_alias="here", keys=[key], keepalive_s=never if silent == "client" else often
        )
        connection = await asyncssh.connect("127.0.0.1", port, config=None, options=options)
        dead, alive = (connection, came[0]) if silent == "client" else (came[0], connection)
        try:
            await asyncio.sleep(8 * interval_s)
            assert not alive.is_closed(), "who answers stays, idle or not"
            assert alive._keepalive_count_max == 3
            dead._transport.pause_reading()
            async with asyncio.timeout(30):
                await alive.wait_closed()
        finally:
            dead.abort()
            alive.abort()
