"""Control sockets: how daemons of one machine and its console talk to each other.

One unix stream socket per daemon, JSON lines of `protocol/control.py`, one request and one answer at a time per
connection. Only the daemon's own user and root may ask (SO_PEERCRED), and of a daemon that names guests those users,
some of its verbs. Lines, time and connections are bounded.
`Poke` is the exception: a stream of lines without answers that wakes the reader of a journal.

Raises `GatepostError`: status 69 when the daemon is not there, its own status when it answers with an error, 70
for what is no answer.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from core.diagnostic import incident
from core.errors import (
    EX_CANTCREAT,
    EX_DATAERR,
    EX_NOPERM,
    EX_SOFTWARE,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    GatepostError,
)
from core.lifecycle import Scope
from protocol.control import LINE_LIMIT, VERSION, fault_of

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Guests:
    """Users other than the daemon's own, and the verbs that they may ask."""

    uids: frozenset[int] = frozenset()
    verbs: frozenset[str] = frozenset()


class NotReached(GatepostError):
    """Status 69, and not an answer: nobody is on the socket."""


NOBODY = Guests()

_CONNECTIONS = 64
_REFUSALS, _REFUSAL_S = 16, 1.0
"""So many who may not ask are heard at once, and so long."""
_IDLE_S = 300.0


class ControlServer:
    """The service that answers on a daemon's control socket."""

    name = "control"

    def __init__(
        self, path: Path, verbs: Mapping[str, Handler], peers: Collection[int] = (), *, guests: Guests = NOBODY
    ) -> None:
        self._path = path
        self._verbs = verbs
        self._peers = {0, os.getuid(), *peers}
        self._guests = guests
        self._open = 0
        self._refusing = 0
        self._lock: int | None = None

    def claim(self) -> None:
        """Make sure that this process is the only one of its kind. Raises status 75 if another runs."""
        if len(os.fsencode(self._path)) > 107:
            raise GatepostError(
                f"{self._path}: longer than the 107 bytes of a socket's name; use a shorter folder",
                EX_CANTCREAT,
            )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GatepostError(f"already running (it holds {self._path.with_suffix('.lock')})", EX_TEMPFAIL) from None

    def _unusable(self, error: OSError) -> GatepostError:
        reason = f"{error.strerror or error}; the daemon's user must be able to write there"
        return GatepostError(f"control socket {self._path}: {reason}", EX_CANTCREAT)

    async def run(self, scope: Scope) -> None:
        """Listen until stopping; the last to go, so that `health` answers while others wind down."""
        try:
            self._path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, self._path, limit=LINE_LIMIT)
            # To connect takes the right to write. Where there are guests, the user id alone decides.
            self._path.chmod(0o666 if self._guests.uids else 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            scope.ready()
            await scope.stopping.wait()
        finally:
            server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            uid = _peer_uid(writer.get_extra_info("socket"))
            allowed = self._allowed(uid)
            if not allowed:
                text = f"{self._path.stem} may not be asked by user {uid}"
                writer.write(msgspec.json.encode(_error(EX_NOPERM, text)) + b"\n")
                await self._heard(reader)
            elif self._open < _CONNECTIONS:
                self._open += 1
                try:
                    await self._answer_all(reader, writer, allowed)
                finally:
                    self._open -= 1
        except (ConnectionError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    async def _heard(self, reader: asyncio.StreamReader) -> None:
        """Let one who is refused say its line: who writes to a closed socket does not read why."""
        if self._refusing >= _REFUSALS:
            return
        self._refusing += 1
        try:
            async with asyncio.timeout(_REFUSAL_S):
                await reader.readline()
        finally:
            self._refusing -= 1

    def _allowed(self, uid: int) -> Mapping[str, Handler]:
        """Give the verbs that a user may ask."""
        if uid in self._peers:
            return self._verbs
        if uid in self._guests.uids:
            return {verb: handler for verb, handler in self._verbs.items() if verb in self._guests.verbs}
        return {}

    async def _answer_all(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verbs: Mapping[str, Handler]
    ) -> None:
        while True:
            async with asyncio.timeout(_IDLE_S):
                line = await reader.readline()
            if not line:
                return
            answer = await self._answer(line, verbs)
            if answer is not None:
                writer.write(msgspec.json.encode(answer) + b"\n")
                async with asyncio.timeout(_IDLE_S):
                    await writer.drain()

    async def _answer(self, line: bytes, verbs: Mapping[str, Handler]) -> dict[str, Any] | None:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
            do = str(request.get("do"))
            verb = verbs.get(do)
            args = request.get("args") or {}
            if request.get("v") != VERSION:
                return _error(
                    EX_DATAERR,
                    f"control version {request.get('v')} is not {VERSION}; restart after the upgrade",
                )
            if verb is None and do in self._verbs:
                return _error(EX_NOPERM, f"{do} is for the user that {self._path.stem} runs as")
            if verb is None:
                return _error(EX_USAGE, f"unknown control verb {request.get('do')!r}")
            fault = "args are no object" if not isinstance(args, dict) else fault_of(args)
            if fault:
                return _error(EX_USAGE, fault)
            result = await verb(_Arguments(args))
            return None if request.get("quiet") else {"v": VERSION, "ok": result}
        except GatepostError as error:
            return _error(error.status, error.text)
        except msgspec.DecodeError as error:
            return _error(EX_DATAERR, f"malformed control request: {error}")
        except Exception as error:  # one request never takes the daemon down
            number = incident("control", error)
            return _error(EX_SOFTWARE, f"internal error, incident {number}; see the daemon's log")


class _Arguments(dict[str, Any]):
    """The arguments of a request; one that a verb cannot do without and that is not there is the asker's fault."""

    def __missing__(self, name: str) -> Any:
        raise GatepostError(f"the argument {name} is missing", EX_USAGE)


def _error(status: int, text: str) -> dict[str, Any]:
    return {"v": VERSION, "error": {"status": status, "text": text}}


def _peer_uid(sock: socket.socket) -> int:
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def peer_pid(path: Path) -> int:
    """Give the process that listens on a control socket, 0 if none does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(str(path))
            pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return 0
    return int(pid)


class _Error(msgspec.Struct):
    status: Annotated[int, msgspec.Meta(ge=1, le=255)]
    text: str


class _Answer(msgspec.Struct):
    """What comes back: one of the two."""

    ok: Any = msgspec.UNSET
    error: _Error | None = None


async def _asked(path: Path, request: bytes, of_users: Collection[int]) -> bytes:
    """Send a line and give the one that comes back. Who is refused before it has asked still reads why."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, str(path))
        if of_users and (uid := _peer_uid(sock)) not in of_users:
            raise GatepostError(f"{path}: the user with number {uid} answers there, which is not its own", EX_NOPERM)
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(sock, request)
        reader, writer = await asyncio.open_unix_connection(sock=sock.dup(), limit=LINE_LIMIT)
        try:
            return await reader.readline()
        finally:
            writer.close()


async def call(path: Path, do: str, /, timeout_s: float = 10.0, of_users: Collection[int] = (), **args: Any) -> Any:
    """Ask the daemon behind `path` to do something and give its answer.

    `of_users` are the numbers of the users whose daemon is believed, where others can put a socket in its place; none
    = anybody's. Raises status 77 for another's, before anything is asked.
    """
    name = path.stem
    request = msgspec.json.encode({"v": VERSION, "do": do, "args": args}) + b"\n"
    try:
        async with asyncio.timeout(timeout_s):
            line = await _asked(path, request, of_users)
    except TimeoutError:
        raise GatepostError(f"{name} did not answer within {timeout_s:g} s", EX_TEMPFAIL) from None
    except PermissionError:
        raise GatepostError(f"{name} may not be asked by this user; use the daemon's own", EX_NOPERM) from None
    except OSError:
        raise NotReached(f"{name} is not running (no answer on {path})", EX_UNAVAILABLE) from None
    except ValueError:
        raise _unfit(name, f"is longer than {LINE_LIMIT} octets") from None
    return _read(name, line)


def _read(name: str, line: bytes) -> Any:
    """Give what a daemon says in its answer. Raises the `GatepostError` that it tells, or what `call` raises."""
    if not line.endswith(b"\n"):
        how = "in the middle of" if line else "without"
        raise NotReached(f"{name} closed the connection {how} an answer; see its log", EX_UNAVAILABLE)
    try:
        answer = msgspec.json.decode(line, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unfit(name, f"is none: {error}") from None
    if answer.error is not None:
        raise GatepostError(answer.error.text, answer.error.status)
    if answer.ok is msgspec.UNSET:
        raise _unfit(name, "says neither ok nor error")
    return answer.ok


def _unfit(name: str, why: str) -> GatepostError:
    return GatepostError(f"the answer of {name} {why}; restart it: it may be of another release", EX_SOFTWARE)


@functools.lru_cache(maxsize=64)
def _poke_line(topic: str) -> bytes:
    return msgspec.json.encode({"v": VERSION, "do": "poke", "args": {"topic": topic}, "quiet": True}) + b"\n"


class Poke:
    """Wake another daemon without waiting: a kept connection, at most one line per call, dropped if it is away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def poke(self, topic: str) -> None:
        """Send `poke {topic}`; when the peer is away it finds the news by itself later."""
        try:
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                )
                self._socket.connect(str(self._path))
            self._socket.send(_poke_line(topic))
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """Drop the connection; the next poke opens another."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
