"""The two halves of pairing, joined by a console that is an SSH server of the suite's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import GatepostError
from core.ssh import CommandResult, HostKey
from cpq import pair as module
from cpq.pair import Introduction, accept, pair
from tests.support.quarantine import Machine, certificate


def introduction(machine: Machine, **more: Any) -> Introduction:
    fields = {
        "serial": machine.serial,
        "role": machine.role,
        "certificate": certificate(machine.serial)[1].decode(),
        "address": "127.0.1.1",
        "port": 7025,
        **more,
    }
    return Introduction(**fields)


@pytest.fixture
def esa(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "esa", "ESA-1", "esa")


@pytest.fixture
def sma(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "sma", "SMA-1", "sma")


class Console:
    """A gateway's console: shows a host key, runs `cpq pair`."""

    def __init__(self, esa: Machine, answer: Introduction | None = None) -> None:
        self.esa = esa
        self.answer = answer or introduction(esa)
        self.commands: list[str] = []

    async def host_key_fingerprint(self, host: str, port: int, timeout_s: float) -> HostKey:
        return HostKey("ssh-ed25519 AAAA", "SHA256:abc")

    async def run_command(self, host: str, port: int, *rest: Any, stdin: bytes) -> CommandResult:
        username, _, known, command, _ = rest
        assert (username, known) == ("admin", "ssh-ed25519 AAAA")
        self.commands.append(command)
        try:
            document = accept(self.esa.pairings, self.answer, json.loads(stdin), clock=lambda: 5.0)
        except GatepostError as error:
            return CommandResult(error.status, b"", f"gatepost: {error.text}\n".encode())
        return CommandResult(0, json.dumps(document).encode(), b"")


async def run(
    monkeypatch: pytest.MonkeyPatch, console: Console, sma: Machine, own: Introduction, *, confirmed: bool = True
) -> module.Pair:
    monkeypatch.setattr(module, "host_key_fingerprint", console.host_key_fingerprint)
    monkeypatch.setattr(module, "run_command", console.run_command)
    shown: list[str] = []

    async def confirm(fingerprint: str) -> bool:
        shown.append(fingerprint)
        return confirmed

    try:
        return await pair(
            sma.pairings, own, host="127.0.1.1", port=2222, username="admin", key_path=Path("key"), confirm=confirm
        )
    finally:
        assert shown == ["SHA256:abc"]


async def test_both_sides_pin_each_other(monkeypatch: pytest.MonkeyPatch, esa: Machine, sma: Machine) -> None:
    console = Console(esa)
    done = await run(monkeypatch, console, sma, introduction(sma, address="127.0.2.1", command_key="ssh-ed25519 BBBB"))
    assert (done.serial, done.address, done.port) == ("ESA-1", "127.0.1.1", 7025)
    assert console.commands == ["cpq pair --json"]
    (there,) = esa.pairings.all()
    assert (there.serial, there.role, there.address, there.command_key) == (
        "SMA-1",
        "sma",
        "127.0.2.1",
        "ssh-ed25519 BBBB",
    )
    (here,) = sma.pairings.all()
    assert (here.serial, here.console_host, here.console_port, here.host_key) == (
        "ESA-1",
        "127.0.1.1",
        2222,
        "ssh-ed25519 AAAA",
    )
    assert here.certificate == certificate("ESA-1")[1].decode()


async def test_nothing_is_sent_before_the_host_key_is_confirmed(
    monkeypatch: pytest.MonkeyPatch, esa: Machine, sma: Machine
) -> None:
    console = Console(esa)
    with pytest.raises(GatepostError, match="was not confirmed"):
        await run(monkeypatch, console, sma, introduction(sma), confirmed=False)
    assert console.commands == []
    assert sma.pairings.all() == []


async def test_a_refusal_of_the_other_side_is_told(monkeypatch: pytest.MonkeyPatch, esa: Machine, sma: Machine) -> None:
    with pytest.raises(GatepostError, match="refused to pair: gatepost: pairing: SMA-1 is not of role sma but esa"):
        await run(monkeypatch, Console(esa), sma, introduction(sma, role="esa"))
    assert esa.pairings.all() == []
    assert sma.pairings.all() == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"serial": "ESA-7"}, "ESA-7 shows the certificate of ESA-1"),
        ({"certificate": "nonsense"}, "cannot be read"),
        ({"role": "bastion"}, "not of role esa"),
        ({"v": 2}, "version 2"),
    ],
)
async def test_an_introduction_that_does_not_fit_is_not_pinned(
    monkeypatch: pytest.MonkeyPatch, esa: Machine, sma: Machine, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(GatepostError, match=words):
        await run(monkeypatch, Console(esa, introduction(esa, **fields)), sma, introduction(sma))
    assert sma.pairings.all() == []


@pytest.mark.parametrize("question", [{}, {"serial": 7}, {"serial": "x", "role": "sma"}])
def test_a_question_that_is_no_introduction_is_refused(esa: Machine, question: dict[str, Any]) -> None:
    with pytest.raises(GatepostError, match="cannot be read"):
        accept(esa.pairings, introduction(esa), question)
