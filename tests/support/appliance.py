"""A machine whose daemons are answers: real control sockets, canned documents, and a record of what was asked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from core.control import ControlServer, Handler
from daemons.operator import document_keys
from ops.cli.appliance import Appliance
from ops.cli.execute import Result
from tests.support.service import running

NOW = 1_795_314_062.0
"""Sun Nov 22 02:21:02 2026 UTC."""

CONFIGURATION: dict[str, Any] = {
    "appliance": {"role": "esa", "serial": "42AB-CD", "hostname": "esa.example.test"},
    "listener": [
        {"name": "InboundMail", "kind": "public", "address": "127.0.1.1", "port": 2525},
        {"name": "OutboundMail", "kind": "private", "address": "127.0.1.1", "port": 2526},
    ],
    "cpq": {"address": "127.0.1.1", "port": 7025},
    "tunnel": {"host": "upgrades.example.test", "port": 2025, "ports": [2443, 2022]},
    "directory": {"bind_password": "hunter2", "url": "ldap://x"},
}


class Audit:
    """An audit log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.written = asyncio.Event()

    def info(self, text: str) -> None:
        self.lines.append(text)
        self.written.set()


class Daemons:
    """Fake daemons of one machine; `asked` holds (daemon, verb, args) in the order of arrival."""

    def __init__(self, run: Path) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    @contextlib.asynccontextmanager
    async def up(self, **daemons: Mapping[str, Any]) -> AsyncIterator[None]:
        """Run daemons, named with `_` for `-`; a value that is callable is asked, an exception is raised."""
        async with contextlib.AsyncExitStack() as stack:
            for name, verbs in daemons.items():
                daemon = name.replace("_", "-")
                handlers = {verb: self._handler(daemon, verb, answer) for verb, answer in verbs.items()}
                server = ControlServer(self.run / f"{daemon}.sock", handlers)
                await stack.enter_async_context(running(server))
            yield

    def _handler(self, daemon: str, verb: str, answer: Any) -> Handler:
        async def handle(args: dict[str, Any]) -> Any:
            self.asked.append((daemon, verb, args))
            result = await answer(args) if callable(answer) else answer
            if isinstance(result, Exception):
                raise result
            return result

        return handle


def machine(run: Path, role: str = "esa", **more: Any) -> Appliance:
    """Give an appliance whose control sockets are in `run`."""
    return Appliance(
        **{
            "role": role,
            "serial": "42AB-CD",
            "hostname": f"{role}.example.test",
            "run": run,
            "version": "0.1.0",
            "schema": document_keys(),
            "configuration": lambda: CONFIGURATION,
            "now": lambda: NOW,
            "timeout_s": 5.0,
            **more,
        }
    )


def document(result: Result) -> Any:
    """Give the document of a `--json` run that succeeded."""
    assert (result.status, result.error) == (0, "")
    return json.loads(result.output)
