"""`tlsverify` as a dialogue of the console."""

from pathlib import Path
from typing import Any

from ops.cli.account import LOCAL
from ops.cli.commands import registry
from ops.cli.commands.transport_security import render_tlsverify
from ops.cli.execute import Executor
from ops.cli.line import LineScreen
from ops.cli.session import Session
from tests.support.appliance import Audit, Daemons, machine

ANSWER: dict[str, Any] = {
    "domain": "a.test",
    "level": "preferred",
    "mx": [{"preference": 10, "host": "mx.a.test"}],
    "route": False,
    "mta_sts": {"mode": "enforce", "mx": ["mx.a.test"], "max_age_s": 86400},
    "hosts": [],
    "would_deliver": True,
    "lines": ["Host mx.a.test, preference 10:", "Mail would be delivered.", "TLS verification completed."],
}


async def dialogue(daemons: Daemons, *lines: str) -> str:
    shown: list[str] = []
    answers = list(lines)

    async def read_line() -> str:
        return answers.pop(0) + "\n" if answers else ""

    executor = Executor(registry(), machine(daemons.run), Audit())
    await Session(executor, LOCAL, LineScreen(read_line, shown.append), idle_s=60).run()
    return "".join(shown)


async def test_the_dialogue_asks_for_domain_and_host_and_shows_each_step(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path / "run")
    async with daemons.up(delivery_queue={"tlsverify": ANSWER}):
        shown = await dialogue(daemons, "tlsverify", "a.test", "mx.a.test:2525")
        await dialogue(daemons, "tlsverify", "a.test", "")
        nothing = await dialogue(daemons, "tlsverify", "")
    assert "Enter the TLS domain to verify against:" in shown
    assert "Enter the destination host to connect to. Append the port if it is not 25: [a.test]>" in shown
    assert "a.test: level preferred, MX 10 mx.a.test" in shown
    assert "MTA-STS policy: mode enforce, mx mx.a.test" in shown
    assert "Mail would be delivered.\nTLS verification completed." in shown
    assert [args for _, _, args in daemons.asked] == [
        {"domain": "a.test", "host": "mx.a.test:2525"},
        {"domain": "a.test", "host": "a.test"},
    ]
    assert "level" not in nothing


async def test_what_is_no_domain_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path / "run")
    async with daemons.up(delivery_queue={"tlsverify": ANSWER}):
        shown = await dialogue(daemons, "tlsverify", "someone@a.test", "")
    assert "'someone@a.test' is not a valid domain" in shown
    assert daemons.asked == []


def test_long_steps_are_broken_between_words_on_a_terminal_and_nowhere_else() -> None:
    step = "TLS connection to 192.0.2.1 failed: the host does not offer STARTTLS. Mail would go in the clear."
    answer = {**ANSWER, "lines": [step]}
    assert step in render_tlsverify(answer, 0).splitlines()
    lines = render_tlsverify(answer, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert step in " ".join(lines)
