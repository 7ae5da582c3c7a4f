"""tunnel.appliance.hunt: the order of candidates, the race, and what comes after a good banner that led nowhere."""

import asyncio

import pytest

from tunnel.appliance.hunt import AT_ONCE, STAGGER_S, Hunt, interleave, wrapped
from tunnel.appliance.road import Candidate, Progress, Road
from tunnel.appliance.verdict import OURS, REFUSED, TIMEOUT, Attempt, Verdict, Way, of_banner
from tunnel.appliance.wire import Wire

_SMTP = of_banner(b"220 mail\r\n")


class _Road(Road):
    """A road whose ends are a table: verdict and seconds by address, port and way."""

    def __init__(self, table: dict[tuple[str, int, Way], tuple[Verdict, float]]) -> None:
        super().__init__(1)
        self._table = table
        self.begun: list[tuple[float, Candidate]] = []
        self.most = 0
        self._now = 0
        self._at = asyncio.get_running_loop().time()

    async def attempt(self, candidate: Candidate, progress: Progress | None = None) -> tuple[Wire | None, Attempt]:
        self.begun.append((asyncio.get_running_loop().time() - self._at, candidate))
        self._now += 1
        self.most = max(self.most, self._now)
        verdict, takes_s = self._table[candidate.address, candidate.port, candidate.way]
        try:
            await asyncio.sleep(takes_s)
        finally:
            self._now -= 1
        attempt = Attempt(candidate.address, candidate.port, verdict, takes_s, 0.0, candidate.way)
        return (Wire(None) if verdict is OURS else None), attempt


def _at(address: str, port: int = 25, way: Way = Way.SSH) -> Candidate:
    return Candidate("bastion.example.test", address, port, way)


def test_families_take_turns_and_the_number_is_bounded() -> None:
    assert interleave(["1.1.1.1", "2.2.2.2", "::1", "3.3.3.3"]) == ["::1", "1.1.1.1", "2.2.2.2", "3.3.3.3"]
    assert len(interleave([f"192.0.2.{n}" for n in range(50)])) == 6


async def test_a_failure_starts_the_next_at_once_and_a_slow_one_after_a_quarter_of_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert STAGGER_S == 0.25
    monkeypatch.setattr("tunnel.appliance.hunt.STAGGER_S", 1.0)  # so that a busy machine's delays are none of it
    monkeypatch.setattr("tunnel.appliance.hunt.PORT_STAGGER_S", 9.0)  # b has not had its time when c wins
    road = _Road({("a", 25, Way.SSH): (_SMTP, 0), ("b", 25, Way.SSH): (TIMEOUT, 9), ("c", 25, Way.SSH): (OURS, 0)})
    notes: list[Attempt] = []
    won = await Hunt(road, [_at("a"), _at("b"), _at("c")], notes.append, ()).next()
    assert won is not None
    assert won[1].address == "c"
    begun = {candidate.address: at for at, candidate in road.begun}
    assert begun["b"] < 0.8 < begun["c"] < 9
    assert [note.address for note in notes] == ["a", "c"]


async def test_a_port_that_had_its_time_when_another_one_won_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.appliance.hunt.PORT_STAGGER_S", 0.2)
    road = _Road({("a", 25, Way.SSH): (TIMEOUT, 9), ("a", 443, Way.SSH): (OURS, 0.05)})
    notes: list[Attempt] = []
    won = await Hunt(road, [_at("a"), _at("a", 443)], notes.append, ()).next()
    assert won is not None
    assert won[1].port == 443
    assert [note.port for note in notes] == [443, 25]
    late = notes[1]
    assert (late.port, late.verdict.name, late.verdict.stage) == (25, "time-out", "tcp")
    assert late.detail.startswith("given up after 0.")


async def test_another_port_waits_longer_than_another_address_and_never_more_than_three_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunnel.appliance.hunt.STAGGER_S", 0.05)
    monkeypatch.setattr("tunnel.appliance.hunt.PORT_STAGGER_S", 0.3)
    slow = {(address, port, Way.SSH): (TIMEOUT, 0.35) for address in "ab" for port in (25, 443, 22)}
    road = _Road(slow)
    candidates = [_at(address, port) for port in (25, 443, 22) for address in "ab"]
    assert await Hunt(road, candidates, lambda _attempt: None, ()).next() is None
    assert [candidate for _, candidate in road.begun] == candidates
    assert road.most <= AT_ONCE
    assert road.begun[2][0] - road.begun[1][0] > 0.2


async def test_what_the_winner_cut_short_is_tried_when_ssh_fails_on_the_winner() -> None:
    road = _Road({("a", 25, Way.SSH): (OURS, 0.4), ("b", 25, Way.SSH): (OURS, 0.4), ("c", 25, Way.SSH): (REFUSED, 0)})
    hunt = Hunt(road, [_at("a"), _at("b"), _at("c")], lambda _attempt: None, ())
    found = []
    while won := await hunt.next():
        found.append(won[1].address)
    assert found == ["a", "b"]


async def test_a_port_that_is_inspected_is_tried_in_tls_and_one_that_is_closed_is_not() -> None:
    tls = Way.TLS
    road = _Road(
        {
            ("a", 443, Way.SSH): (_SMTP, 0),
            ("a", 443, tls): (OURS, 0),
            ("b", 443, Way.SSH): (REFUSED, 0),
            ("a", 25, Way.SSH): (_SMTP, 0),
        }
    )
    won = await Hunt(road, [_at("a", 25), _at("b", 443), _at("a", 443)], lambda _attempt: None, (443,)).next()
    assert won is not None
    assert won[1] == _at("a", 443, tls)
    assert _at("b", 443, tls) not in [candidate for _, candidate in road.begun]


async def test_ssh_that_broke_behind_a_good_banner_is_tried_in_tls_once() -> None:
    road = _Road({("a", 443, Way.SSH): (OURS, 0), ("a", 443, Way.TLS): (OURS, 0)})
    hunt = Hunt(road, [_at("a", 443)], lambda _attempt: None, (443,))
    ways = []
    while won := await hunt.next():
        ways.append(won[1].way)
        hunt.suspect(won[1])
    assert ways == [Way.SSH, Way.TLS]


def test_through_a_proxy_tls_goes_through_the_proxy() -> None:
    assert wrapped(_at("a", 443, Way.PROXY), (443,)) == _at("a", 443, Way.PROXY_TLS)
    assert wrapped(_at("a", 443, Way.PROXY_TLS), (443,)) is None
    assert wrapped(_at("a", 25), (443,)) is None
