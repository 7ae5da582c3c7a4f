"""A bastion, an appliance with a small console behind its tunnel, and an engineer, all on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh

from core import agreement, clock, ssh
from core.control import ControlServer
from core.dns import Answer, Srv
from core.lifecycle import Service
from tests.support.ports import free_ports
from tests.support.service import running
from tests.support.waiting import until
from tunnel.appliance.assembly import Whose, build_client
from tunnel.appliance.client import TunnelClient
from tunnel.bastion.assembly import Bastion, build_bastion
from tunnel.bastion.store import CaseSerial, EngineerEntry, Enrolled, Grant
from tunnel.config import BastionSection, KeydSection, TunnelSection
from tunnel.identity import SERVICE_SOCKET, sign_engineer
from tunnel.keyd.api import Published
from tunnel.keyd.client import SOCKET as KEYD_SOCKET
from tunnel.keyd.client import Keyd
from tunnel.keyd.keyring import Keyring
from tunnel.keyd.server import KeydServer
from tunnel.service.desk import DeskTerms
from tunnel.service.endpoint import ServiceTerms, assemble
from tunnel.service.hop import HopRule
from tunnel.service.notice import Surroundings
from tunnel.service.visitor import ServiceLogin

BASTION = "upgrades.example.test"
SERIAL = "564D00AABBCCDDEEFF00-0123456789AB"
NAME = SERIAL.lower()
CASE = "SR12345"


class Loopback:
    """A resolver that knows one address for every name."""

    servers = ("127.0.0.1:53",)

    async def addresses(self, name: str) -> Answer[str]:
        return Answer(("127.0.0.1",), 60.0)

    async def srv(self, name: str) -> Answer[Srv]:
        return Answer((), 60.0)


class Console(asyncssh.SSHServerSession[bytes]):
    """A small console: `who`, `cat`, `exit N`, `size`, `flood N`, `signal`; as a shell it echoes lines."""

    def __init__(self, login: ServiceLogin) -> None:
        self._login = login
        self._command = ""
        self._size = (0, 0)

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        self._size = tuple(term_size[:2])
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        verb, _, argument = self._command.partition(" ")
        if verb == "":
            self._chan.write(b"esa (SERVICE)> ")
        elif verb == "who":
            facts = [self._login.engineer, self._login.case, self._login.key_id, self._login.relayed]
            self._chan.write(json.dumps(facts).encode())
            self._chan.exit(0)
        elif verb == "exit":
            self._chan.write_stderr(b"not so good \xff\n")
            self._chan.exit(int(argument))
        elif verb == "size":
            self._chan.write(repr(self._size).encode())
            self._chan.exit(0)
        elif verb == "flood":
            self._chan.write(b"x" * int(argument))
            self._chan.exit(0)
        elif verb == "signal":
            self._chan.exit_with_signal("TERM")

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._chan.write(data)
        if not self._command and b"quit" in data:
            self._chan.exit(5)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._chan.write(f"now {width}x{height}\n".encode())

    def eof_received(self) -> bool:
        self._chan.exit(0)
        return True


class Support:
    """The bastion's machine, with its keyd and one open case."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        for folder in ("keys", "run"):
            (directory / folder).mkdir(parents=True)
        host = ssh.public_text(ssh.ensure_key(directory / "keys" / "bastion_host_ed25519"))
        keyring = Keyring(directory / "keyd")
        self.public = {
            "host": host,
            "host_ca": ssh.public_text(keyring.host_ca),
            "engineer_ca": ssh.public_text(keyring.engineer_ca),
        }
        self.exchange_public = f"{keyring.support_keys()[-1].key_id} {keyring.support_keys()[-1].public}"
        self.ports = free_ports(3)
        fixed = {"approval": "none", "unlimited_sources": ("127.0.0.0/8",), "login_timeout_s": 20}
        self.section = BastionSection(
            address="127.0.0.1",
            ports=tuple(self.ports[:2]),
            engineer_address="127.0.0.1",
            engineer_port=self.ports[2],
            names=(BASTION,),
            **(fixed | settings),
        )
        self.bastion = self.build()
        self.keyd = Keyd(directory / "run" / KEYD_SOCKET)

    def build(self) -> Bastion:
        self.bastion = build_bastion(self.section, self.directory)
        return self.bastion

    @property
    def services(self) -> list[Service]:
        """All that runs on the machine."""
        limits = KeydSection(derivations_per_hour=1000)
        keyd = KeydServer(self.directory / "keyd", limits, (BASTION,))
        return [keyd, ControlServer(self.directory / "run" / KEYD_SOCKET, keyd.verbs), *self.bastion.services]

    @property
    def engineers(self) -> int:
        return self.ports[2]

    def audit(self) -> list[dict[str, Any]]:
        lines = (self.directory / "log" / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def refusals(self, rule: str = "") -> list[str]:
        """Give the reasons of what was refused, as the audit log has them."""
        lines = [each for each in self.audit() if each["event"] == "refused"]
        return [each["why"] for each in lines if rule in ("", each["rule"])]

    async def online(self) -> bool:
        return any(each["online"] for each in (await self.bastion.tunnels({}))["tunnels"])

    async def employ(self, *names: str, roles: tuple[str, ...] = ("shell", "sftp", "forward"), **more: Any) -> None:
        """Enter engineers."""
        for name in names:
            await self.bastion.store.engineers.put(EngineerEntry(name=name, roles=roles, keys=(), **more))

    async def open_case(
        self, serial: str = SERIAL, *, case: str = CASE, engineers: tuple[str, ...] = ("ana", "eva"), **row: str
    ) -> None:
        """Open a case, or add to it."""
        rows = [CaseSerial(serial=serial.lower(), **row)]
        await self.bastion.store.cases.open(case, rows, engineers)

    async def take_seed(self, seed: str, serial: str = SERIAL, *, case: str = CASE) -> None:
        """Take the seed string that a customer gave."""
        store = self.bastion.store
        enrolled, told = await store.appliances.get(serial.lower()), await store.appliances.published(serial.lower())
        assert enrolled is not None
        published = told and Published(fingerprint=told.fingerprint, mode=told.mode, key_id=told.key_id, day=told.day)
        given = await self.keyd.grant(
            case, serial.lower(), appliance_key=enrolled.exchange_key, seed=seed, published=published
        )
        facts = {name: getattr(given, name) for name in ("grant_id", "fingerprint", "mode", "until_at")}
        await store.cases.grant(Grant(case=case, serial=serial.lower(), given_at=clock.now(), **facts))


class Engineer:
    """An engineer with key, certificate and pinned hosts in files, for asyncssh and for stock ssh."""

    def __init__(self, support: Support, directory: Path, **changes: Any) -> None:
        directory.mkdir(exist_ok=True)
        self._support = support
        self.key_path = directory / "id"
        ssh.write_key(self.key_path, ssh.make_key())
        public = ssh.public_text(ssh.read_key(self.key_path))
        wanted: dict[str, Any] = {"engineer": "ana", "case": CASE, "serials": [SERIAL], "forwarding": False}
        self.certificate = directory / "id-cert.pub"
        authority = ssh.read_key(support.directory / "keyd" / "engineer_ca_ed25519")
        certificate = sign_engineer(authority, public, **(wanted | changes))
        self.certificate.write_text(ssh.certificate_text(certificate) + "\n")
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text(ssh.known_hosts_line("127.0.0.1", support.public["host"], support.engineers) + "\n")

    def options(self, username: str = NAME, certificate: Any = None) -> Any:
        key = ssh.read_key(self.key_path)
        return ssh.client_options(
            username,
            ssh.known_hosts_line("bastion", self._support.public["host"]),
            host_key_alias="bastion",
            keys=[(key, certificate or ssh.read_certificate(self.certificate))],
            connect_timeout_s=10,
        )

    def connect(self, username: str = NAME, certificate: Any = None) -> Any:
        return asyncssh.connect(
            "127.0.0.1", self._support.engineers, config=None, options=self.options(username, certificate)
        )

    async def stock(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run OpenSSH's client with our files only; gives exit status, output, errors."""
        common = [
            "ssh",
            *("-F", "none", "-i", str(self.key_path), "-p", str(self._support.engineers)),
            *("-o", f"CertificateFile={self.certificate}", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
        ]
        process = await asyncio.create_subprocess_exec(
            *common,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out, err


class Appliance:
    """An appliance with its keys, its service endpoint and its tunnel client."""

    def __init__(
        self, support: Support, directory: Path, serial: str = SERIAL, hops: HopRule | None = None, **settings: Any
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        for folder in ("keys", "state", "run"):
            (directory / folder).mkdir(exist_ok=True)
        self.serial = serial
        self.host_key = ssh.ensure_key(directory / "keys" / "host_ed25519")
        self.tunnel_key = ssh.ensure_key(directory / "keys" / "tunnel_ed25519")
        self.exchange_key = agreement.ensure_key(directory / "keys" / "exchange_x25519")
        self.state_file = directory / "state" / "tunnel.json"
        self.console = directory / "run" / SERVICE_SOCKET
        self.log: list[str] = []
        values: dict[str, Any] = {
            "host": BASTION,
            "port": support.ports[0],
            "ports": tuple(support.ports[:2]),
            "bastion_cas": (support.public["host_ca"],),
            "support_keys": (support.exchange_public,),
            "connect_timeout_s": 10,
            "login_timeout_s": 20,
            "retry_first_s": 0.02,
            "retry_max_s": 0.2,
            **settings,
        }
        self.section = TunnelSection(**values)
        terms = ServiceTerms(serial.lower(), self.state_file)
        desk = DeskTerms(terms.name, self.state_file.parent, hops=hops or HopRule())
        silent, around = TunnelSection(recording="off"), Surroundings(Console)
        self.side = assemble(self.console, self.host_key, terms, desk_terms=desk, section=silent, around=around)
        self.endpoint = self.side.listener

    async def enroll(self, support: Support, *, host_key: Any = None, replace: bool = False) -> None:
        """Make it known on the bastion."""
        wanted = Enrolled(
            serial=self.serial,
            tunnel_key=ssh.public_text(self.tunnel_key),
            host_key=ssh.public_text(host_key or self.host_key),
            exchange_key=agreement.encode(agreement.public_of(self.exchange_key)),
            series="c",
        )
        await support.bastion.store.appliances.enroll(wanted, replace=replace)

    def client(self, **changes: Any) -> TunnelClient:
        whose = Whose(self.serial, "esa", self.directory, "0.0")
        options = {"check_s": 0.05, **changes}
        return build_client(self.section, whose, options.pop("resolver", Loopback()), self.log.append, **options)


@asynccontextmanager
async def connected(folder: Path, **settings: Any) -> AsyncIterator[tuple[Support, Appliance, TunnelClient]]:
    """Run all of it with the tunnel open and proved, and a case of ana and eva; settings go to [bastion]."""
    support = Support(folder / "bastion", **settings)
    appliance = Appliance(support, folder / "esa")
    await appliance.enroll(support)
    await support.employ("ana", "eva")
    client = appliance.client()
    async with running(*support.services, appliance.endpoint, client):
        enabled = await client.enable({"mode": "tunnel"})
        await until(support.online)
        await support.open_case()
        await support.take_seed(enabled["seed"])
        yield support, appliance, client
