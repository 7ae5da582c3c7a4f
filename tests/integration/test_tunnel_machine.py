"""A tunnel between machines as `gatepost init` lays them out, put together as the daemons' roots do it."""

from pathlib import Path

from core import ssh
from core.dns import Answer, Srv
from daemons.initial import make
from tests.support.keyd import keyd
from tests.support.ports import free_ports
from tests.support.remote import Console
from tests.support.service import running
from tests.support.waiting import until
from tunnel.appliance.assembly import Whose, build_client
from tunnel.bastion.assembly import build_bastion
from tunnel.bastion.store import Enrolled
from tunnel.config import DEFAULT_NAME, BastionSection, TunnelSection
from tunnel.service.endpoint import build_endpoint
from tunnel.service.notice import Surroundings


class _Loopback:
    servers = ("127.0.0.1:53",)

    async def addresses(self, name: str) -> Answer[str]:
        return Answer(("127.0.0.1",), 60.0)

    async def srv(self, name: str) -> Answer[Srv]:
        return Answer((), 60.0)


def _public(path: Path) -> str:
    return ssh.public_text(ssh.read_key(path))


async def test_machines_made_by_init_find_each_other_without_a_host_authority(tmp_path: Path) -> None:
    esa, support = tmp_path / "esa", tmp_path / "bastion"
    serial = make("esa", esa, hostname="esa.example.test")
    make("bastion", support, hostname="upgrades.example.test")
    ports = free_ports(2)
    bastion = build_bastion(
        BastionSection(address="127.0.0.1", ports=(ports[0],), engineer_address="127.0.0.1", engineer_port=ports[1]),
        support,
    )
    mine = Enrolled(
        serial=serial,
        tunnel_key=_public(esa / "keys/tunnel_ed25519"),
        host_key=_public(esa / "keys/host_ed25519"),
        exchange_key=(esa / "keys/exchange_x25519.pub").read_text().strip(),
        series="c",
    )
    await bastion.store.appliances.enroll(mine, replace=False)
    section = TunnelSection(
        host="upgrades.example.test",
        port=ports[0],
        ports=(ports[0],),
        bastion_keys=(_public(support / "keys/bastion_host_ed25519"),),
        support_keys=(f"1 {(support / 'keyd/support_1_x25519.pub').read_text().strip()}",),
    )
    client = build_client(section, Whose(serial, "esa", esa), _Loopback(), lambda _text: None)
    async with (
        keyd(support, (DEFAULT_NAME,)),
        running(*bastion.services, *build_endpoint(section, serial, esa, Surroundings(Console)).services, client),
    ):
        status = await client.enable({"mode": "tunnel"})
        assert (status["tunnel"], status["serial"]) == ("open", serial)

        async def online() -> bool:
            tunnels = (await bastion.tunnels({}))["tunnels"]
            return [(each["serial"], each["online"]) for each in tunnels] == [(serial.lower(), True)]

        await until(online)
