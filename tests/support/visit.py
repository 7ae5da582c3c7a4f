"""An appliance's console with its service account, as the daemon wires them, and engineers with stock OpenSSH."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import msgspec

from core import ssh
from ops.access.gate import Gate
from ops.access.record import FILE, Records
from ops.cli.account import Account, Role, account_book
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.guard import Door
from ops.cli.server import ConsoleServer, ConsoleSettings
from ops.cli.sessions import Sessions
from tests.support.appliance import Audit, Daemons, machine
from tests.support.service import running
from tests.support.waiting import until
from tunnel.appliance import activation
from tunnel.config import TunnelSection
from tunnel.seed.password import password, verifiers
from tunnel.service.desk import DeskTerms
from tunnel.service.endpoint import ServiceTerms, assemble
from tunnel.service.notice import Surroundings

NAME = "42ab-cd"
PIPE = Path(__file__).with_name("unix_pipe.py")


class Visited:
    """The appliance."""

    def __init__(self, folder: Path, *, hop_sources: tuple[str, ...] = (), **terms: Any) -> None:
        self.folder = folder
        for name in ("state", "run", "log", "captures", "configuration", "keys"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.host_key = ssh.ensure_key(folder / "keys" / "host_ed25519")
        self.admin_key = ssh.ensure_key(folder / "admin")
        self.file = folder / "state" / activation.FILE_NAME
        self.audit, self.sessions = Audit(), Sessions()
        self.alerts: list[str] = []
        self.disabled = 0
        self.daemons = Daemons(folder / "run")
        executor = Executor(registry(), machine(folder / "run", sessions=self.sessions.facts), self.audit)
        admin = Account("admin", Role.ADMINISTRATOR, (ssh.public_text(self.admin_key),))
        self.console = ConsoleServer(
            executor,
            ConsoleSettings("127.0.0.1", 0),
            self.host_key,
            door=Door(account_book([admin], "cpq-command", list, ())),
            gate=Gate(Records(folder / "state" / FILE), self.audit.info),
            audit=self.audit,
            sessions=self.sessions,
        )
        around = Surroundings(
            session=self.console.service_session,
            tell=self.sessions.announce,
            log=self.audit.info,
            alert=self.alerts.append,
            disable=self._disable,
        )
        self.socket = folder / "run" / "s.sock"
        self.side = assemble(
            self.socket,
            self.host_key,
            ServiceTerms(NAME, self.file),
            desk_terms=DeskTerms(NAME, folder, **terms),
            section=TunnelSection(recording_reserve=0),
            around=around,
        )
        self.port = self.console.listener(self.side.door(hop_sources) if hop_sources else None)

    async def _disable(self) -> None:
        self.disabled += 1
        activation.save(self.file, activation.Activation())

    @property
    def verbs(self) -> Mapping[str, Any]:
        return self.side.verbs

    def enable(self, mode: str = "tunnel", **fields: Any) -> "Credentials":
        """Allow access anew, as `techsupport` does."""
        credentials = Credentials(self.folder / "engineers")
        opened = activation.enabled(mode, 0.0, 1e12, 25, activation.Activation())
        kept = {"service_key": credentials.service_key, "passwords": verifiers(credentials.code_key, 12)}
        activation.save(self.file, activation.changed(opened, **(kept | fields)))
        return credentials

    def log(self, event: str) -> list[dict[str, Any]]:
        """Give the events of one kind in the chained log."""
        lines = (self.folder / "log" / "service.jsonl").read_bytes().splitlines()
        return [found for line in lines if (found := msgspec.json.decode(line))["event"] == event]

    async def recordings(self) -> list[list[Any]]:
        """Read the recordings when all sessions are over and theirs are on disk: the header, then the events."""
        recorder = self.side.recorder
        await until(lambda: not self.side.desk.live, "all sessions are over here, too")
        await until(lambda: not any(each.close_facts is not None for each in recorder._files))
        files = sorted((self.folder / "recordings").rglob("*.cast"), key=lambda path: path.stat().st_mtime)
        return [[msgspec.json.decode(line) for line in path.read_bytes().splitlines()] for path in files]


class Credentials:
    """What support has of one activation."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.key = ssh.make_key()
        self.service_key = ssh.public_text(self.key)
        self.code_key = os.urandom(32)

    def password(self, number: int) -> str:
        return password(self.code_key, number)

    def certificate(
        self, engineer: str = "ana", case: str = "SR12345", serial: str = NAME, *, forwarding: bool = False, **more: Any
    ) -> tuple[Path, Path]:
        """Give an engineer's key and certificate files."""
        number = len(list(self.folder.iterdir()))
        path = self.folder / f"{engineer}-{number}"
        key = ssh.make_key()
        ssh.write_key(path, key)
        made = ssh.user_certificate(
            self.key,
            key,
            key_id=f"{engineer}@{case}#" + f"{number:036d}",
            principals=[serial],
            life_s=more.get("life_s", 60),
            permit_pty=True,
            permit_port_forwarding=forwarding,
        )
        certificate = path.with_name(path.name + "-cert.pub")
        certificate.write_text(ssh.certificate_text(made) + "\n")
        return path, certificate

    def own_key(self) -> Path:
        path = self.folder / "derived"
        ssh.write_key(path, self.key)
        return path


class Stock:
    """OpenSSH's programs against one appliance."""

    def __init__(
        self, visited: Visited, key: Path | None, certificate: Path | None = None, origin: str = "ana"
    ) -> None:
        self._known = visited.folder / "known_hosts"
        self._known.write_text(ssh.known_hosts_line(NAME, ssh.public_text(visited.host_key)) + "\n")
        self.options = [
            *("-F", "none", "-o", f"UserKnownHostsFile={self._known}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"ProxyCommand={sys.executable} {PIPE} {visited.socket} {origin}", "-o", "IdentityAgent=none"),
        ]
        if key is not None:
            self.options += ["-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        if certificate is not None:
            self.options += ["-o", f"CertificateFile={certificate}"]

    async def run(self, *command: str, stdin: bytes = b"", tty: bool = False) -> tuple[int, bytes, bytes]:
        """Run `ssh service@APPLIANCE COMMAND`; gives exit status, output, errors."""
        return await program("ssh", *self.options, *(["-tt"] if tty else []), f"service@{NAME}", *command, stdin=stdin)

    async def sftp(self, *lines: str) -> tuple[int, bytes, bytes]:
        """Run lines of an sftp batch."""
        batch = "\n".join(lines).encode() + b"\n"
        return await program("sftp", *self.options, "-b", "-", f"service@{NAME}", stdin=batch)

    async def scp(self, *words: str, legacy: bool = False) -> tuple[int, bytes, bytes]:
        """Run scp; `@:` at the beginning of a word is the appliance."""
        paths = [f"service@{NAME}:{word[2:]}" if word.startswith("@:") else word for word in words]
        return await program("scp", *self.options, *(["-O"] if legacy else []), *paths)


async def program(*words: str, stdin: bytes = b"", within_s: float = 60) -> tuple[int, bytes, bytes]:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(within_s):
        out, errors = await process.communicate(stdin)
    return process.returncode or 0, out, errors


class Dial:
    """Lets asyncssh dial the appliance's service socket, as the tunnel client does for an origin."""

    def __init__(self, visited: Visited, origin: str = "ana") -> None:
        self._path = visited.socket
        self._origin = origin

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:
        def protocol() -> Any:
            connection = factory()
            connection.set_extra_info(remote_peername=(NAME, 22))
            return connection

        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        near: Any = await ssh.splice_to_unix(self._path, lambda: None, origin=self._origin)
        await loop.create_unix_connection(lambda: near, sock=theirs)
        return await loop.create_unix_connection(protocol, sock=ours)

    def close(self) -> None:
        """Nothing is kept."""

    async def wait_closed(self) -> None:
        """Nothing is kept."""


@asynccontextmanager
async def visited(folder: Path, **terms: Any) -> AsyncIterator[Visited]:
    """Run an appliance."""
    appliance = Visited(folder, **terms)
    async with running(*appliance.side.services, appliance.port):
        yield appliance


def connect(appliance: Visited, key: Path, certificate: Path | None = None, *, origin: str = "ana") -> Any:
    """Log in with asyncssh over the service socket."""
    mine = ssh.read_key(key)
    keys: list[Any] = [(mine, ssh.read_certificate(certificate)) if certificate else mine]
    known = ssh.known_hosts_line(NAME, ssh.public_text(appliance.host_key))
    options = ssh.client_options("service", known, host_key_alias=NAME, keys=keys)
    return asyncssh.connect("", 22, tunnel=Dial(appliance, origin), config=None, options=options)


__all__ = ["NAME", "Credentials", "Dial", "Stock", "Visited", "connect", "program", "visited"]
