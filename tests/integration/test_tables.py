"""Tables edited over SSH and committed: mail that comes afterwards goes the new way, under the new limits."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.ssh import make_key, public_text, write_key
from tests.integration.test_console_users import Tmux
from tests.integration.test_delivery_tables import HEAD, Gateway, OutsideHost, outside_host, route
from tests.support.lab import Ran, ran, short_folder
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.road import DaemonProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, needs("ssh"), needs("tmux")]
HOST = "127.72.1.1"


class Machine(Gateway):
    """A gateway with a console, and an administrator with a key."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._admin, self._console_port = folder.parent / "admin", free_port(HOST)
        key = make_key("admin")
        write_key(self._admin, key)
        user = f'[[user]]\nname = "admin"\nrole = "administrator"\nkeys = ["{public_text(key).strip()}"]\n'
        self.head = f'{user}[console]\naddress = "{HOST}"\nport = {self._console_port}\n'
        self._daemons["console"] = DaemonProcess(folder, "console", "console")

    def ssh(self) -> list[str]:
        options = ["IdentityAgent=none", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
        options.append("UserKnownHostsFile=/dev/null")
        words = ["ssh", "-F", "none", "-p", str(self._console_port), "-i", str(self._admin)]
        words += [word for one in options for word in ("-o", one)]
        return [*words, f"admin@{HOST}"]

    async def console(self, line: str, stdin: str = "") -> Ran:
        return await asyncio.to_thread(ran, [*self.ssh(), line], stdin=stdin)

    async def done(self, line: str, stdin: str = "") -> str:
        found = await self.console(line, stdin)
        assert (found.status, found.err) == (0, ""), found
        return found.out


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    with short_folder() as folder:
        one = Machine(folder / "esa")
        yield one
        await one.kill()


async def arrived(host: OutsideHost, recipient: str) -> None:
    await until(lambda: host.of(recipient), f"{recipient} at its host")


async def test_an_idle_connection_took_mail_to_the_host_of_the_old_route_after_a_commit(machine: Machine) -> None:
    """A new route and a new limit count from the commit on."""
    async with outside_host() as first, outside_host() as second:
        machine.configure(machine.head + route(first.port))
        await machine.start()
        await machine.done(f"smtproutes new moved.test 127.0.0.1:{second.port}")
        await machine.done("destconfig new slow.test --recipient-limit 1 --recipient-minutes 60")
        await machine.send("before@moved.test")
        await arrived(first, "before@moved.test")

        assert "smtproutes new moved.test" in await machine.done("showchanges")
        await machine.done("commit 'another host for moved.test'")
        await machine.send("after@moved.test")
        await arrived(second, "after@moved.test")
        assert not first.of("after@moved.test")

        for name in ("one", "two"):
            await machine.send(f"{name}@slow.test")
        await arrived(first, "one@slow.test")

        async def limited() -> bool:
            found = json.loads(await machine.done("hoststatus slow.test --json"))
            return "recipient" in str(found["limiting_rule"])

        await until(limited, "the rule that limits slow.test")
        assert not first.of("two@slow.test")


async def test_a_profile_in_use_is_refused_at_the_commit_and_nothing_changes(machine: Machine) -> None:
    machine.configure(machine.head + '[[bounce_profile]]\nname = "Bulk"\n[[destination]]\nbounce_profile = "Bulk"\n')
    await machine.start()
    assert "Warning: commit will refuse" in await machine.done("bounceconfig delete Bulk")
    found = await machine.console("commit")
    assert found.status != 0
    assert "there is no [[bounce_profile]] of the name Bulk" in found.err
    assert 'name = "Bulk"' in (machine.dir / "gatepost.toml").read_text()


async def test_the_three_answers_of_deliveryconfig_count_without_a_restart(machine: Machine) -> None:
    """A time-out is named as one that does."""
    async with outside_host() as host:
        machine.configure(machine.head + route(host.port))
        await machine.start()
        line = "deliveryconfig setup --possible-delivery yes --max-connections 50 --eight-bit bounce"
        await machine.done(line)
        assert "restart" not in await machine.done("commit")
        detail = json.loads(await machine.done("deliveryconfig print --json"))["delivery"]
        assert (detail["possible_delivery"], detail["max_connections"]) == (True, 50)
        await machine.done("deliveryconfig setup --final-timeout-s 700")
        assert "delivery.final_timeout_s" in await machine.done("commit")


async def test_a_table_goes_out_and_comes_back_over_ssh(machine: Machine) -> None:
    machine.configure(machine.head)
    await machine.start()
    text = "".join(f"d{number}.test mx{number}.test\n" for number in range(40_000))
    assert (
        await machine.done("smtproutes import -", text)
        == "40,000 routes were read in place of 0; pending until `commit`.\n"
    )
    await machine.done("commit")
    out = await machine.done("smtproutes export -")
    assert [line.split() for line in out.splitlines()[1:]] == [line.split() for line in text.splitlines()]
    assert HEAD.split()[0] in (machine.dir / "gatepost.toml").read_text()


async def test_the_menu_of_a_table_on_a_terminal(machine: Machine, tmp_path: Path) -> None:
    """Stock ssh in a terminal: Ctrl-C drops the answers of the command, a table is longer than the screen."""
    machine.configure(machine.head)
    await machine.start()
    screen = Tmux(machine.dir / "t", machine.ssh())

    async def types(text: str, seen: str) -> str:
        await asyncio.to_thread(screen.line, text)
        return await asyncio.to_thread(screen.sees, seen)

    try:
        await asyncio.to_thread(screen.sees, "esa.example.test>")
        await types("smtproutes", "- NEW - Create a route.")
        await types("new", "Domain of the route: []>")
        await types("dropped.test", "Hosts that take its mail: []>")
        screen.types("C-c")
        await asyncio.to_thread(screen.sees, "^C")
        await types("smtproutes", "There are no routes.")
        await types("new", "Domain of the route: []>")
        await types("kept.test", "Hosts that take its mail: []>")
        await types("no..host", "'no..host' is no host name or address")
        await types("/dev/null", "The route kept.test was created; pending until `commit`.")
        await types("", "esa.example.test>")
        assert "kept.test  /dev/null" in await types("smtproutes list", "kept.test  /dev/null")
    finally:
        screen.kill()
    assert json.loads(await machine.done("smtproutes list --json"))["total"] == 1
