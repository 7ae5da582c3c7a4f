"""Sending a file to another host: over SFTP, so that it appears whole, or by SCP where there is no SFTP.

Used to push saved log files. The host key is pinned. Raises the exceptions of `core/ssh/error.py`.
"""

import asyncio
from pathlib import Path, PurePosixPath

import asyncssh

from core.ssh.client import translated
from core.ssh.error import SshBroken
from core.ssh.key import known_hosts_line, read_key
from core.ssh.option import client_options

_SLOWEST = 100_000
"""Octets a second that a transfer makes at least."""


async def send_file(  # noqa: PLR0917 - the seven things that say where, who and what
    host: str,
    port: int,
    username: str,
    key_path: Path,
    known_host_key: str,
    file: Path,
    directory: str,
    *,
    timeout_s: float = 30.0,
) -> None:
    """Copy a file into a directory ('' = where a login begins), under its own name."""
    options = client_options(
        username,
        known_hosts_line(host, known_host_key),
        host_key_alias=host,
        keys=[read_key(key_path)],
        connect_timeout_s=timeout_s,
        login_timeout_s=timeout_s,
    )
    size = (await asyncio.to_thread(file.stat)).st_size
    target = str(PurePosixPath(directory or ".") / file.name)
    with translated(f"{host}:{port}", username):
        async with asyncio.timeout(timeout_s + size / _SLOWEST):
            async with asyncssh.connect(host, port, config=None, options=options) as connection:
                try:
                    await _by_sftp(connection, file, target)
                except asyncssh.ChannelOpenError:
                    await asyncssh.scp(str(file), (connection, target))
                except asyncssh.SFTPError as error:
                    raise SshBroken(f"{host}:{port}: {target}: {error.reason or error}") from error


async def _by_sftp(connection: asyncssh.SSHClientConnection, file: Path, target: str) -> None:
    draft = f"{target}.part"
    async with connection.start_sftp_client() as sftp:
        await sftp.put(str(file), draft)
        try:
            await sftp.posix_rename(draft, target)
        except asyncssh.SFTPOpUnsupported:
            await sftp.rename(draft, target)
