"""`mail.delivery.host`: the state of addresses, by virtual gateway."""

import pytest

from core.smtp.target import Target
from mail.delivery import host
from mail.delivery.host import CAREFUL_S, DECAY_S, FIRST_S, MOST_S, SLOW_S, UNFIT_S, HostTable

ONE, TWO, BACKUP = (Target(f"mx{n}", f"192.0.2.{n}", 25, n // 3) for n in (1, 2, 3))
ALL = (ONE, TWO, BACKUP)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def table() -> tuple[HostTable, Clock]:
    clock = Clock()
    return HostTable(clock, lambda: clock.now + 1_000_000), clock


def order(hosts: HostTable, gateway: str = "") -> list[list[str]]:
    return [[target.host for target in group] for group in hosts.order(gateway, ALL)]


def test_equal_preferences_are_tried_together_and_failed_ones_last() -> None:
    hosts, clock = table()
    assert order(hosts) == [["mx1", "mx2"], ["mx3"]]
    hosts.down("", ONE.address, "refused")
    assert order(hosts) == [["mx2"], ["mx3"], ["mx1"]]
    clock.now += FIRST_S
    assert order(hosts) == [["mx1", "mx2"], ["mx3"]]


def test_the_penalty_grows_and_goes_away() -> None:
    hosts, clock = table()
    waits = []
    for _ in range(9):
        hosts.down("", ONE.address, "refused")
        waits.append(hosts.facts([""], [ONE])[0]["retry_at"] - clock.now - 1_000_000)
    assert waits[:3] == pytest.approx([FIRST_S, 2 * FIRST_S, 4 * FIRST_S])
    assert waits[-1] == MOST_S
    clock.now += 20 * DECAY_S
    hosts.down("", ONE.address, "refused")
    assert hosts.facts([""], [ONE])[0]["retry_at"] == pytest.approx(clock.now + FIRST_S + 1_000_000)


def test_an_address_that_answers_now_and_then_is_not_forgiven_at_once() -> None:
    hosts, clock = table()
    for _ in range(3):
        hosts.down("", ONE.address, "refused")
        hosts.up("", ONE.address)
    assert hosts.facts([""], [ONE])[0]["state"] == "up"
    assert order(hosts)[0] == ["mx1", "mx2"]
    hosts.down("", ONE.address, "refused")
    assert hosts.facts([""], [ONE])[0]["retry_at"] - clock.now - 1_000_000 == pytest.approx(8 * FIRST_S)


def test_each_virtual_gateway_has_its_own_states() -> None:
    hosts, _ = table()
    hosts.down("news", ONE.address, "blocked")
    assert order(hosts) == [["mx1", "mx2"], ["mx3"]]
    assert order(hosts, "news") == [["mx2"], ["mx3"], ["mx1"]]
    assert [one["state"] for one in hosts.facts(["", "news"], [ONE])] == ["unknown", "down"]


def test_an_address_that_lost_a_race_is_not_down() -> None:
    hosts, clock = table()
    hosts.slow("", ONE.address)
    assert order(hosts)[0] == ["mx2"]
    assert hosts.facts([""], [ONE])[0]["state"] == "unknown"
    clock.now += SLOW_S
    assert order(hosts)[0] == ["mx1", "mx2"]


def test_connections_are_counted_for_an_address_and_for_each_gateway() -> None:
    hosts, _ = table()
    for gateway in ("", "", "news"):
        hosts.begin(gateway, ONE.address)
    assert hosts.open("news", ONE.address) == 3
    assert hosts.open("news", ONE.address, per_gateway=True) == 1
    hosts.end("news", ONE.address)
    assert (hosts.open("", ONE.address), hosts.open("news", ONE.address, per_gateway=True)) == (2, 0)
    assert hosts.open("", TWO.address, per_gateway=True) == 0


def test_a_peer_that_broke_the_protocol_is_spoken_to_simply_for_a_while() -> None:
    hosts, clock = table()
    hosts.confused("", ONE.address, "answered twice")
    assert hosts.careful("", ONE.address)
    clock.now += CAREFUL_S
    assert not hosts.careful("", ONE.address)
    assert hosts.facts([""], [ONE])[0]["last_error"] == "answered twice"


def test_what_is_remembered_is_bounded_and_what_is_in_use_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST", 3)
    hosts, _ = table()
    hosts.begin("", "192.0.2.99")
    for number in range(9):
        hosts.down("", f"192.0.2.{number}", "x")
    assert len(hosts._hosts) == 3
    assert hosts.open("", "192.0.2.99", per_gateway=True) == 1


def test_an_address_that_fails_the_policy_of_one_domain_is_as_good_as_before_for_others() -> None:
    """A wrong certificate for one domain's policy put the address behind others for all that share it."""
    hosts, clock = table()
    hosts.down("", ONE.address, "TLS is required", only_for="strict.test")

    def of(domain: str) -> list[list[str]]:
        return [[target.host for target in group] for group in hosts.order("", ALL, domain)]

    assert of("strict.test") == [["mx2"], ["mx3"], ["mx1"]]
    assert of("lax.test") == [["mx1", "mx2"], ["mx3"]]
    assert (hosts.facts([""], [ONE])[0]["state"], hosts.facts([""], [ONE])[0]["retry_at"]) == ("unknown", None)
    hosts.up("", ONE.address, "strict.test")
    assert of("strict.test") == [["mx1", "mx2"], ["mx3"]]
    hosts.down("", ONE.address, "TLS is required", only_for="strict.test")
    clock.now += UNFIT_S
    assert of("strict.test") == [["mx1", "mx2"], ["mx3"]]
    hosts.down("", ONE.address, "refused")
    assert of("lax.test") == [["mx2"], ["mx3"], ["mx1"]]


def test_what_is_remembered_of_domains_and_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST", 3)
    hosts, _ = table()
    for number in range(9):
        hosts.down("", ONE.address, "x", only_for=f"d{number}.test")
    assert len(hosts._unfit) == 3
