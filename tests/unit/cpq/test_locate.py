import json
from pathlib import Path

import pytest

from core.errors import EX_UNAVAILABLE, GatepostError
from core.ssh import CommandResult, SshHostKeyChanged, SshRefused
from cpq.locate import Location, Locator
from cpq.pairing import Pairing
from tests.support.quarantine import Machine, machines


class Clock:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


class Console:
    """Answers like the console of a gateway."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: CommandResult | Exception = self.listener("127.0.1.1", 7025, "listening")

    @staticmethod
    def listener(address: str, port: int, state: str) -> CommandResult:
        return CommandResult(0, json.dumps({"address": address, "port": port, "state": state}).encode(), b"")

    async def __call__(self, pairing: Pairing) -> CommandResult:
        self.asked.append(pairing.serial)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def sma(tmp_path: Path) -> Machine:
    return machines(tmp_path)[1]


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def locator(sma: Machine, console: Console, clock: Clock) -> Locator:
    return Locator(sma.pairings, console, sma.log, clock=clock)


async def test_the_answer_is_kept_for_a_minute(locator: Locator, console: Console, clock: Clock) -> None:
    for _ in range(3):
        assert await locator.locate("ESA-1") == Location("ESA-1", "127.0.1.1", 7025)
    assert console.asked == ["ESA-1"]
    clock.at += 60
    await locator.locate("ESA-1")
    assert len(console.asked) == 2


async def test_a_listener_on_any_address_is_called_where_its_console_is(locator: Locator, console: Console) -> None:
    console.answer = console.listener("0.0.0.0", 7025, "listening")
    assert (await locator.locate("ESA-1")).address == "127.0.0.1"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (SshRefused("127.0.0.1:22: connection refused"), "connection refused"),
        (SshHostKeyChanged("127.0.0.1:22: the host key is not the pinned one"), "host key"),
        (CommandResult(69, b"", b"gatepost: cpq-listener is not running\n"), "cpq-listener is not running"),
        (CommandResult(0, b"not json", b""), "cannot be read"),
        (Console.listener("127.0.1.1", 7025, "suspended"), "its cpq_listener is suspended"),
        (Console.listener("127.0.1.1", 0, "listening"), "impossible port"),
    ],
)
async def test_trouble_is_one_line_that_names_the_appliance_and_backs_off(
    sma: Machine, locator: Locator, console: Console, clock: Clock, answer: CommandResult | Exception, words: str
) -> None:
    console.answer = answer
    for _ in range(3):
        with pytest.raises(GatepostError, match=words):
            await locator.locate("ESA-1")
    assert len(console.asked) == 1
    lines = [line for line in sma.logged().splitlines() if "Application error" in line]
    assert len(lines) == 1
    assert "ESA-1" in lines[0]
    assert words in lines[0]
    for wait_s in (2, 4, 8, 16, 32, 60, 60):
        before = len(console.asked)
        clock.at += wait_s - 0.1
        with pytest.raises(GatepostError):
            await locator.locate("ESA-1")
        assert len(console.asked) == before
        clock.at += 0.1
        with pytest.raises(GatepostError):
            await locator.locate("ESA-1")
        assert len(console.asked) == before + 1
    console.answer = console.listener("127.0.1.1", 7025, "listening")
    clock.at += 60
    assert (await locator.locate("ESA-1")).port == 7025


async def test_mail_of_a_gateway_that_is_gone_goes_to_the_alternate(
    sma: Machine, console: Console, clock: Clock, locator: Locator
) -> None:
    with pytest.raises(GatepostError) as caught:
        await locator.locate("ESA-gone")
    assert caught.value.status == EX_UNAVAILABLE
    assert "alternate release appliance" in caught.value.text
    alternate = Locator(sma.pairings, console, sma.log, alternate="ESA-1", clock=clock)
    assert (await alternate.locate("ESA-gone")).serial == "ESA-1"
