"""Support engineers reach the console by the tunnel's endpoint: their prompt, rights and name in the audit log."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh

from core.ssh import Half, client_options, known_hosts_line, make_key, public_text, user_certificate
from ops.cli.account import account_book
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.server import ConsoleServer, ConsoleSettings, Sessions
from tests.support.appliance import Audit, Daemons, machine
from tests.support.service import running
from tunnel.appliance import activation
from tunnel.service.endpoint import ServiceTerms, service_endpoint

NAME = "42ab-cd"


async def test_an_engineer_gets_the_service_prompt_the_support_role_and_an_audit_line(tmp_path: Path) -> None:
    authority, engineer, host_key = make_key("ca"), make_key("ana"), make_key("host")
    key_id = "ana@SR12345#" + "0" * 36
    certificate = user_certificate(authority, engineer, key_id=key_id, principals=[NAME], life_s=60, permit_pty=True)
    daemons, audit, sessions = Daemons(tmp_path / "run"), Audit(), Sessions()
    executor = Executor(registry(), machine(daemons.run, sessions=sessions.facts), audit)
    accounts = account_book([], "cpq-command", list, ())
    console = ConsoleServer(
        executor, ConsoleSettings("127.0.0.1", 0), host_key, accounts=accounts, audit=audit, sessions=sessions
    )
    terms = ServiceTerms(NAME, tmp_path / "techsupport.json")
    opened = activation.enabled("sshaccess", 0.0, 60, 0, activation.Activation())
    activation.save(terms.activation_file, activation.changed(opened, service_key=public_text(authority)))
    endpoint = service_endpoint(tmp_path / "service.sock", host_key, terms, console.service_session)
    known = known_hosts_line("appliance", public_text(host_key))
    options = client_options("service", known, host_key_alias="appliance", keys=[(engineer, certificate)])

    async with running(endpoint), asyncio.timeout(20):
        tunnel: Any = _UnixSocket(tmp_path / "service.sock")
        async with asyncssh.connect("", 22, tunnel=tunnel, config=None, options=options) as connection:
            version = await connection.run("version --json", encoding="utf-8")
            refused = await connection.run("techsupport tunnel", encoding="utf-8")
            process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(
                term_type="xterm", term_size=(80, 24), encoding=None
            )
            shown = b""
            while b"(SERVICE)>" not in shown:
                shown += await process.stdout.read(4096)
            (inside,) = sessions.facts()

    assert json.loads(str(version.stdout))["serial"] == "42AB-CD"
    assert refused.exit_status == 77
    assert (inside["user"], inside["role"], inside["identity"]) == ("service", "support", key_id)
    assert f"CLI service ({key_id}) from the tunnel ran: version; status 0" in audit.lines


class _UnixSocket:
    """What asyncssh takes for a tunnel: something that makes connections."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def create_connection(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        def protocol() -> Any:
            connection = factory()
            connection.set_extra_info(remote_peername=("appliance", 22))
            return connection

        # A socket with a path for a name is more than the library's host key check can read: bytes go over a pair.
        ours, theirs = socket.socketpair()
        near, far, loop = Half(), Half(), asyncio.get_running_loop()
        near.join(far)
        await loop.create_unix_connection(lambda: near, sock=theirs)  # type: ignore[type-var]
        await loop.create_unix_connection(lambda: far, str(self._path))  # type: ignore[type-var]
        return await loop.create_unix_connection(protocol, sock=ours)

    def close(self) -> None:
        """Nothing is kept."""

    async def wait_closed(self) -> None:
        """Nothing is kept."""
