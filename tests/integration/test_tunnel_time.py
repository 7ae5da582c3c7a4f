"""Time and network on the appliance: reminders, the account's own limit, a lost address, broken DNS, a restart."""

from pathlib import Path
from typing import Any

import pytest

from core import clock
from core.dns import Answer, DnsTemporary, Srv
from core.errors import GatepostError
from tests.support.remote import BASTION, Appliance, Support, connected
from tests.support.service import running
from tests.support.volume import fill, mounted, on_a_volume
from tests.support.waiting import until
from tunnel.appliance import activation

DAY_S = 86_400.0


class _Broken:
    """A resolver whose servers do not answer, once it is told so."""

    servers = ("192.0.2.53:53",)

    def __init__(self) -> None:
        self.broken = False

    async def addresses(self, name: str) -> Answer[str]:
        if self.broken:
            raise DnsTemporary(name, "A", "Timeout")
        return Answer(("127.0.0.1",), 60.0)

    async def srv(self, name: str) -> Answer[Srv]:
        if self.broken:
            raise DnsTemporary(name, "SRV", "Timeout")
        return Answer((), 60.0)


async def test_the_administrator_is_reminded_every_day_even_after_a_restart(tmp_path: Path) -> None:
    appliance = Appliance(Support(tmp_path / "bastion"), tmp_path / "esa")
    ahead_s, warned = [0.0], list[str]()
    options: dict[str, Any] = {"now": lambda: clock.now() + ahead_s[0], "warn": warned.append}
    client = appliance.client(**options)
    async with running(client):
        await client.enable({"mode": "sshaccess"})
        ahead_s[0] = DAY_S + 60
        await until(lambda: len(warned) == 1)
    async with running(appliance.client(**options)):
        ahead_s[0] = 2 * DAY_S + 120
        await until(lambda: len(warned) == 2)
    assert "enabled for 1 day" in warned[0]
    assert "enabled for 2 day" in warned[1]


async def test_the_accounts_own_limit_disables_it(tmp_path: Path) -> None:
    appliance = Appliance(Support(tmp_path / "bastion"), tmp_path / "esa", account_hours=2)
    ahead_s = [0.0]
    client = appliance.client(now=lambda: clock.now() + ahead_s[0])
    async with running(client):
        status = await client.enable({"mode": "sshaccess"})
        assert status["account_until"] is not None
        ahead_s[0] = 7201

        async def over() -> bool:
            return bool((await client.status({}))["mode"] == "disabled")

        await until(over)
    kept = activation.load(appliance.state_file)
    assert (kept.mode, kept.service_key, kept.passwords) == ("disabled", "", ())


@on_a_volume
async def test_access_can_be_disabled_on_a_full_disk_and_not_enabled(tmp_path: Path) -> None:
    """DISABLE said that there was an internal error, and support stayed in."""
    with mounted(tmp_path, mebibytes=16) as volume:
        appliance = Appliance(Support(tmp_path / "bastion"), tmp_path / "esa")
        state = appliance.state_file.parent
        state.rename(tmp_path / "console's own")
        state.symlink_to(volume.place)
        client = appliance.client()
        async with running(client):
            await client.enable({"mode": "sshaccess"})
            fill(volume.place / "filler")
            with pytest.raises(GatepostError, match="nothing was enabled"):
                await client.enable({"mode": "sshaccess"})
            assert activation.load(appliance.state_file).account_open(clock.now())
            assert (await client.disable({}))["mode"] == "disabled"
            assert not activation.load(appliance.state_file).account_open(clock.now())


async def test_an_address_that_is_gone_has_the_tunnel_dialled_again_at_once(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, appliance, client):
        first = client._link
        first.local = "192.0.2.77"
        client._network_changed()
        await until(lambda: client._link is not None and client._link is not first)
        assert any("no longer has the address 192.0.2.77" in line for line in appliance.log)
        await until(support.online)


async def test_with_broken_dns_a_restart_finds_the_bastion_where_it_was_and_otherwise_says_who_was_asked(
    tmp_path: Path,
) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    names = _Broken()
    async with running(*support.services):
        await appliance.enroll(support)
        async with running(appliance.endpoint):
            client = appliance.client(resolver=names)
            async with running(client):
                await client.enable({"mode": "tunnel"})
                await until(support.online)
            names.broken = True
            async with running(appliance.client(resolver=names)):
                await until(support.online)
            (tmp_path / "esa" / "state" / "places.json").unlink()
            client = appliance.client(resolver=names)
            async with running(client):

                async def said() -> Any:
                    return (await client.status({}))["problem"]

                problem = await until(said)
                assert "names cannot be resolved" in problem
                assert BASTION in problem
                assert "192.0.2.53:53" in problem
