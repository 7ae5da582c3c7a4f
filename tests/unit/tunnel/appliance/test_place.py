"""tunnel.appliance.place: names to addresses, by SRV and without, and what is said when DNS is broken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.dns import Answer, DnsNotFound, DnsTemporary, Srv
from tunnel.appliance.place import NoPlace, Place, Places, by_proxy, candidates, shuffled
from tunnel.appliance.verdict import Way

SERIES, ALL = "c.tunnels.example.test", "upgrades.example.test"


class _Names:
    """A resolver over a table; what is not in it does not exist."""

    servers = ("192.0.2.53:53", "[2001:db8::53]:53")

    def __init__(self, addresses: dict[str, tuple[str, ...]], services: dict[str, tuple[Srv, ...]]) -> None:
        self.table = addresses
        self.services = services
        self.broken = False

    async def addresses(self, name: str) -> Answer[str]:
        if self.broken:
            raise DnsTemporary(name, "A", "Timeout")
        if name not in self.table:
            raise DnsNotFound(name, "A", "NXDomain")
        return Answer(self.table[name], 60.0)

    async def srv(self, name: str) -> Answer[Srv]:
        if self.broken:
            raise DnsTemporary(name, "SRV", "Timeout")
        return Answer(self.services.get(name, ()), 60.0)


def _places(folder: Path, names: _Names) -> Places:
    return Places((SERIES, ALL), names, folder / "places.json", now=lambda: 1000.0)


async def test_srv_says_host_and_port_and_the_name_stays_the_one_that_was_asked_for(tmp_path: Path) -> None:
    service = Srv(10, 10, 4766, "b1.example.test")
    names = _Names({"b1.example.test": ("192.0.2.1", "2001:db8::1")}, {f"_gatepost-tunnel._tcp.{SERIES}": (service,)})
    found = await _places(tmp_path, names).find()
    assert found.places == (Place(SERIES, ("2001:db8::1", "192.0.2.1"), 4766),)


async def test_a_service_that_is_declared_absent_or_has_no_address_falls_back_to_the_name(tmp_path: Path) -> None:
    services = (Srv(0, 0, 0, "."), Srv(1, 1, 25, "gone.example.test"))
    names = _Names({SERIES: ("192.0.2.1",)}, {f"_gatepost-tunnel._tcp.{SERIES}": services})
    assert (await _places(tmp_path, names).find()).places == (Place(SERIES, ("192.0.2.1",)),)


async def test_without_the_series_name_the_common_one_is_used(tmp_path: Path) -> None:
    names = _Names({ALL: ("192.0.2.9",)}, {})
    assert (await _places(tmp_path, names).find()).places == (Place(ALL, ("192.0.2.9",)),)


async def test_a_name_that_gives_a_thousand_addresses_and_services_is_cut(tmp_path: Path) -> None:
    many = tuple(f"192.0.{n // 250}.{n % 250 + 1}" for n in range(1000))
    services = tuple(Srv(1, 1, 25, f"b{n}.example.test") for n in range(60))
    names = _Names({f"b{n}.example.test": many for n in range(60)}, {f"_gatepost-tunnel._tcp.{SERIES}": services})
    places = (await _places(tmp_path, names).find()).places
    assert len(places) <= 6
    assert all(len(place.addresses) <= 6 for place in places)
    assert len(candidates(places, [25, 443])) <= 24


async def test_without_dns_the_last_good_answer_is_used_and_said_to_be_old(tmp_path: Path) -> None:
    names = _Names({SERIES: ("192.0.2.1",)}, {})
    places = _places(tmp_path, names)
    places.remember(await places.find())
    names.broken = True
    found = await _places(tmp_path, names).find()
    assert (found.places, found.remembered_at) == ((Place(SERIES, ("192.0.2.1",)),), 1000.0)
    assert "names cannot be resolved" in found.problem
    (tmp_path / "places.json").write_text("{")
    with pytest.raises(NoPlace):
        await _places(tmp_path, names).find()


async def test_what_is_remembered_for_another_name_is_not_used(tmp_path: Path) -> None:
    names = _Names({SERIES: ("192.0.2.1",)}, {})
    places = _places(tmp_path, names)
    places.remember(await places.find())
    names.broken = True
    with pytest.raises(NoPlace):
        await Places(("upgrades.elsewhere.test",), names, tmp_path / "places.json").find()


@pytest.mark.parametrize(("broken", "said"), [(True, "names cannot be resolved"), (False, "does not exist")])
async def test_no_dns_names_the_servers_that_were_asked(tmp_path: Path, broken: bool, said: str) -> None:
    names = _Names({}, {})
    names.broken = broken
    with pytest.raises(NoPlace) as caught:
        await _places(tmp_path, names).find()
    text = str(caught.value)
    assert said in text
    assert all(word in text for word in (SERIES, ALL, "192.0.2.53:53", "[2001:db8::53]:53"))


def test_the_asked_port_comes_first_then_the_one_of_dns_then_the_others() -> None:
    places = [Place(SERIES, ("::1", "192.0.2.1"), 4766), Place(SERIES, ("192.0.2.1", "192.0.2.2"), 4766)]
    order = [(one.port, one.address) for one in candidates(places, [25, 443, 25])]
    hosts = ["::1", "192.0.2.1", "192.0.2.2"]
    assert order == [(port, host) for port in (25, 4766, 443) for host in hosts]


def test_through_a_proxy_names_are_tried_and_nothing_is_looked_up() -> None:
    found = candidates(by_proxy((SERIES,)).places, [25], proxied=True)
    assert [(one.address, one.way) for one in found] == [(SERIES, Way.PROXY)]


@pytest.mark.parametrize(
    ("pick", "first"), [(lambda _top: 0.0, "c"), (lambda top: top, "b"), (lambda top: top * 0.05, "a")]
)
def test_services_are_ordered_by_priority_then_by_weight_and_chance(pick: Callable[[float], float], first: str) -> None:
    services = [Srv(20, 1, 1, "z"), Srv(10, 10, 1, "a"), Srv(10, 90, 1, "b"), Srv(10, 0, 1, "c")]
    ordered = [one.host for one in shuffled(services, pick)]
    assert ordered[0] == first
    assert ordered[-1] == "z"
    assert sorted(ordered) == ["a", "b", "c", "z"]
