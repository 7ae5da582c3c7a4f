"""Client side: dial, run one command, fetch one file, look at a host key.

Used by the command client (release-host, pairing), the tunnel client and the bastion. All failures come out
as the exceptions of `core/ssh/error.py`.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from core.ssh.error import SshAuthFailed, SshBroken, SshError, SshHostKeyChanged, SshRefused, SshTimeout
from core.ssh.key import fingerprint, known_hosts_line, public_text, read_certificate, read_key
from core.ssh.option import CIPHERS, HOST_KEYS, KEX, MACS, SIGNATURES, client_options

OUTPUT_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a remote command gave. `status` is its exit status; 255 if it ended by a signal or without one."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host key as a person compares it (`fingerprint`) and as it is pinned (`public`, one line)."""

    public: str
    fingerprint: str


KeyOrFile = Path | asyncssh.SSHKey
"""A private key, or the file that it is read from."""


async def run_command(  # noqa: PLR0917 - the seven things that say where, who and what
    host: str,
    port: int,
    username: str,
    key_path: KeyOrFile | None,
    known_host_key: str,
    command: str,
    timeout_s: float,
    *,
    certificate_path: Path | None = None,
    password: str | None = None,
    stdin: bytes = b"",
) -> CommandResult:
    """Run one command on a host whose key is pinned; connects, runs, closes, all within timeout_s.

    known_host_key is a public key line. Output beyond 16 MiB is an error. Raises SshRefused, SshTimeout,
    SshHostKeyChanged, SshAuthFailed or SshBroken; a command that merely fails is a CommandResult.
    """
    options = client_options(
        username,
        known_hosts_line(host, known_host_key),
        host_key_alias=host,
        keys=_identity(key_path, certificate_path),
        password=password,
        connect_timeout_s=timeout_s,
        login_timeout_s=timeout_s,
    )
    async with _connected(host, port, options, timeout_s) as connection:
        return await _run(connection, command, stdin)


async def fetch_file(  # noqa: PLR0917 - the seven things that say where, who and what
    host: str,
    port: int,
    username: str,
    key_path: Path,
    known_host_key: str,
    path: str,
    timeout_s: float,
    *,
    certificate_path: Path | None = None,
) -> bytes:
    """Fetch one file over SFTP from a host whose key is pinned, 16 MiB at most; errors as in `run_command`."""
    options = client_options(
        username,
        known_hosts_line(host, known_host_key),
        host_key_alias=host,
        keys=_identity(key_path, certificate_path),
        connect_timeout_s=timeout_s,
        login_timeout_s=timeout_s,
    )
    async with (
        _connected(host, port, options, timeout_s) as connection,
        connection.start_sftp_client() as sftp,
        sftp.open(path, "rb") as file,
    ):
        content: bytes = await file.read(OUTPUT_LIMIT + 1)
    if len(content) > OUTPUT_LIMIT:
        raise SshBroken(f"{path} has more than {OUTPUT_LIMIT // 1024 // 1024} MiB")
    return content


@dataclass(frozen=True, slots=True)
class Stop:
    """One host on a road of several; the first is connected to directly, each further one through the one before."""

    host: str
    port: int
    username: str
    key_path: Path
    known_host_key: str
    certificate_path: Path | None = None


async def run_through(stops: Sequence[Stop], command: str, timeout_s: float) -> CommandResult:
    """Run one command on the last of some hosts, each reached through the one before, as `ssh -J` does it.

    Every host key is pinned; errors as in `run_command`, about the host that they came from.
    """
    connection: asyncssh.SSHClientConnection | None = None
    async with AsyncExitStack() as open_, asyncio.timeout(timeout_s):
        for stop in stops:
            options = client_options(
                stop.username,
                known_hosts_line(stop.host, stop.known_host_key),
                host_key_alias=stop.host,
                keys=_identity(stop.key_path, stop.certificate_path),
                connect_timeout_s=timeout_s,
                login_timeout_s=timeout_s,
            )
            with translated(f"{stop.host}:{stop.port}", stop.username):
                beyond = asyncssh.connect(stop.host, stop.port, tunnel=connection or (), config=None, options=options)
                connection = await open_.enter_async_context(beyond)
        if connection is None:
            raise ValueError("a road has at least one host")
        with translated(f"{stops[-1].host}:{stops[-1].port}", stops[-1].username):
            return await _run(connection, command, b"")


def _identity(
    key_path: KeyOrFile | None, certificate_path: Path | None
) -> list[asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]]:
    if key_path is None:
        return []
    key = read_key(key_path) if isinstance(key_path, Path) else key_path
    return [(key, read_certificate(certificate_path)) if certificate_path else key]


@asynccontextmanager
async def _connected(
    host: str, port: int, options: asyncssh.SSHClientConnectionOptions, timeout_s: float
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect, log in and close, all within timeout_s."""
    with translated(f"{host}:{port}", options.username):
        async with asyncio.timeout(timeout_s):
            async with asyncssh.connect(host, port, config=None, options=options) as connection:
                yield connection


async def _run(connection: asyncssh.SSHClientConnection, command: str, stdin: bytes) -> CommandResult:
    process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(command, encoding=None)
    async with process:
        with suppress(BrokenPipeError):  # a quick command has ended before; its answer is there to be read
            process.stdin.write(stdin)
            process.stdin.write_eof()
        async with asyncio.TaskGroup() as readers:
            stdout = readers.create_task(_read(process.stdout))
            stderr = readers.create_task(_read(process.stderr))
        await process.wait_closed()
    status = process.exit_status
    return CommandResult(255 if status is None or status < 0 else status, stdout.result(), stderr.result())


async def _read(stream: asyncssh.SSHReader[bytes]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await stream.read(65536):
        size += len(part)
        if size > OUTPUT_LIMIT:
            raise SshBroken(f"the command gave more than {OUTPUT_LIMIT // 1024 // 1024} MiB of output")
        parts.append(part)
    return b"".join(parts)


async def host_key_fingerprint(host: str, port: int, timeout_s: float = 15) -> HostKey:
    """Fetch the host key that a server shows, for a person to compare before it is pinned."""
    options = asyncssh.SSHClientConnectionOptions(
        config=None,
        kex_algs=list(KEX),
        encryption_algs=list(CIPHERS),
        mac_algs=list(MACS),
        signature_algs=list(SIGNATURES),
        server_host_key_algs=list(HOST_KEYS),
        client_keys=None,
        agent_path=None,
        client_version="Gatepost_1.0",
        connect_timeout=timeout_s,
        login_timeout=timeout_s,
    )
    where = f"{host}:{port}"
    with translated(where, ""):
        async with asyncio.timeout(timeout_s):
            key = await asyncssh.get_server_host_key(host, port, config=None, options=options)
    if key is None:
        raise SshBroken(f"{where}: the server showed no host key")
    return HostKey(public_text(key), fingerprint(key))


@asynccontextmanager
async def connection_over(
    sock: socket.socket | None, tunnel: Any, options: asyncssh.SSHClientConnectionOptions, where: str
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Log in over a connected socket, or over a tunnel object that has `create_connection`; close on leaving."""
    with translated(where, options.username):
        connection = await dial(sock, tunnel, options)
    try:
        yield connection
    finally:
        connection.abort()


async def dial(
    sock: socket.socket | None, tunnel: Any, options: asyncssh.SSHClientConnectionOptions
) -> asyncssh.SSHClientConnection:
    """Log in over a socket or a tunnel object; the caller closes, and sees asyncssh's own exceptions."""
    if sock is not None:
        return await asyncssh.connect(sock=sock, config=None, options=options)
    return await asyncssh.connect("", 22, tunnel=tunnel, config=None, options=options)


@contextmanager
def translated(where: str, username: str) -> Iterator[None]:
    """Turn what asyncssh and the sockets raise into the exceptions of `core/ssh/error.py`."""
    try:
        yield
    except (OSError, asyncssh.Error, SshError, UnicodeError) as error:  # the last: of a name that no host can have
        raise translate(error, where, username) from error
    except ExceptionGroup as group:
        raise translate(_first(group), where, username) from group


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def translate(error: Exception, where: str, username: str) -> SshError:
    """Name what one exception of asyncssh or of a socket means for the operator."""
    if isinstance(error, SshError):
        return error
    if isinstance(error, TimeoutError):
        return SshTimeout(f"{where}: no answer in time; is it the port of an SSH server?")
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return SshHostKeyChanged(f"{where}: the host key is not the pinned one: {error.reason}; compare and pair again")
    if isinstance(error, asyncssh.PermissionDenied):
        return SshAuthFailed(f"{where}: login as {username!r} was refused")
    if isinstance(error, asyncssh.ConnectionLost | asyncssh.Error):
        return SshBroken(f"{where}: the SSH connection failed: {getattr(error, 'reason', '') or error}")
    if isinstance(error, OSError):
        return SshRefused(f"{where}: {error.strerror or error}")
    return SshBroken(f"{where}: {error}")
