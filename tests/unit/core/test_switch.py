"""A daemon's two steps to another configuration: held, applied, dropped, and settled by the file when nobody comes."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, GatepostError, Problem
from core.switch import Prepared, Switch, digest_of, joined, prompt, together


class Parts:
    """What a daemon goes by, and what it was asked."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.text = config.read_text()
        self.log: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def prepare(self, file: Path) -> Prepared:
        text = file.read_text()
        if "wrong" in text:
            raise ConfigError([Problem(str(file), "a", "is wrong"), Problem(str(file), "b", "too")])

        async def apply() -> None:
            if "breaks" in text:
                raise RuntimeError("unforeseen")
            self.text = text
            self.log.append(f"applied {text}")

        return Prepared(apply, lambda: self.log.append(f"dropped {text}"), ("console.port",) if "port" in text else ())

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coro, name=name))


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    config = tmp_path / "gatepost.toml"
    config.write_text("old")
    return Parts(config)


def switch_of(parts: Parts, **more: Any) -> Switch:
    switch = Switch(parts.config, digest_of(parts.config), parts.prepare, **more)
    switch.spawn = parts.spawn
    return switch


def candidate(parts: Parts, text: str) -> str:
    file = parts.config.with_suffix(".candidate")
    file.write_text(text)
    return str(file)


async def test_nothing_changes_before_it_is_applied(parts: Parts) -> None:
    verbs = switch_of(parts).verbs()
    answer = await verbs["configuration_prepare"]({"file": candidate(parts, "new port"), "token": "t"})
    assert answer == {"restart": ["console.port"]}
    assert parts.text == "old"
    assert (await verbs["configuration_state"]({}))["held"]
    await verbs["configuration_apply"]({"token": "t"})
    assert parts.text == "new port"
    state = await verbs["configuration_state"]({})
    assert state == {"digest": digest_of(Path(candidate(parts, "new port"))), "held": False}


async def test_another_candidate_takes_the_place_of_the_first(parts: Parts) -> None:
    verbs = switch_of(parts).verbs()
    await verbs["configuration_prepare"]({"file": candidate(parts, "one"), "token": "1"})
    await verbs["configuration_prepare"]({"file": candidate(parts, "two"), "token": "2"})
    assert parts.log == ["dropped one"]
    with pytest.raises(GatepostError, match="not held any more"):
        await verbs["configuration_apply"]({"token": "1"})
    assert await verbs["configuration_drop"]({"token": "1"}) == {"dropped": False}
    assert await verbs["configuration_drop"]({"token": "2"}) == {"dropped": True}
    assert parts.log == ["dropped one", "dropped two"]


async def test_faults_are_told_and_nothing_is_held(parts: Parts) -> None:
    verbs = switch_of(parts).verbs()
    with pytest.raises(ConfigError) as refused:
        await verbs["configuration_prepare"]({"file": candidate(parts, "wrong"), "token": "t"})
    assert len(refused.value.problems) == 2
    assert not (await verbs["configuration_state"]({}))["held"]


@pytest.mark.parametrize(("in_the_file", "became"), [(True, "applied new"), (False, "dropped new")])
async def test_a_candidate_that_nobody_comes_back_for_is_settled_by_the_file(
    parts: Parts, in_the_file: bool, became: str
) -> None:
    verbs = switch_of(parts, held_s=0.0).verbs()
    await verbs["configuration_prepare"]({"file": candidate(parts, "new"), "token": "t"})
    if in_the_file:
        parts.config.write_text("new")
    async with asyncio.timeout(30):
        while not parts.log:
            await asyncio.sleep(0)
    assert parts.log == [became]


async def test_sighup_takes_the_file_and_what_else_is_done_then_is_done_in_any_case(parts: Parts) -> None:
    also: list[str] = []

    async def renew() -> None:
        also.append("renewed")

    switch = switch_of(parts, also=renew)
    parts.config.write_text("wrong")
    with pytest.raises(ConfigError):
        await switch.take()
    assert (parts.text, also) == ("old", ["renewed"])
    parts.config.write_text("by hand")
    await switch.take()
    assert (parts.text, also) == ("by hand", ["renewed", "renewed"])


async def test_a_file_that_changed_while_the_daemon_started_is_taken(parts: Parts) -> None:
    switch = switch_of(parts)
    await switch.catch_up()
    assert parts.log == []
    parts.config.write_text("newer")
    await switch.catch_up()
    assert parts.log == ["applied newer"]


async def test_what_breaks_against_its_promise_is_told(parts: Parts, capfd: pytest.CaptureFixture[str]) -> None:
    verbs = switch_of(parts).verbs()
    before = (await verbs["configuration_state"]({}))["digest"]
    await verbs["configuration_prepare"]({"file": candidate(parts, "breaks"), "token": "t"})
    with pytest.raises(GatepostError, match="in force in part only"):
        await verbs["configuration_apply"]({"token": "t"})
    assert (await verbs["configuration_state"]({}))["digest"] == before
    assert "unforeseen" in capfd.readouterr().err


async def test_parts_are_prepared_all_or_none() -> None:
    log: list[str] = []

    async def good(name: str) -> Prepared:
        return Prepared(prompt(lambda: log.append(name)), lambda: log.append(f"no {name}"), (name,))

    async def bad() -> Prepared:
        raise ConfigError([Problem("f", "k", "r")])

    async def worse() -> Prepared:
        raise GatepostError("port taken", 69)

    with pytest.raises(ConfigError) as refused:
        await together(good("a"), bad(), worse(), good("b"))
    assert [problem.reason for problem in refused.value.problems][:1] == ["r"]
    assert "port taken" in refused.value.text
    assert log == ["no a", "no b"]
    both = await together(good("a"), good("b"))
    await both.apply()
    assert (log[2:], both.restart) == (["a", "b"], ("a", "b"))
    assert joined([]).restart == ()
