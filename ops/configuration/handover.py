"""Handing a candidate to the daemons of the machine: all prepare, then all apply, or all drop.

The daemons' side is core/switch.py. A daemon that does not run takes the file at its start and is named; one that
answers with faults, or not in time, is why a commit is refused. Used by `commit`. Raises nothing but cancellation.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import control
from core.errors import EX_NOPERM, GatepostError
from core.role import DAEMONS, ON
from core.switch import HELD_S

PREPARE_S = 30.0
APPLY_S = 30.0
_DROP_S = 2.0
_OCTETS_PER_S = 30_000
"""What a daemon reads and checks at the least, on a machine that has no time for it."""


@dataclass(frozen=True)
class Answer:
    """What one daemon said."""

    daemon: str
    state: str
    """`ready`, `absent`, `apart` (another user's, takes it at its restart), `refused`, `in force`, `late`."""
    reasons: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


class Handover:
    """One candidate on its way to the daemons."""

    def __init__(self, run: Path, role: str, *, prepare_s: float = PREPARE_S, apply_s: float = APPLY_S) -> None:
        self._run = run
        self._role = role
        self._prepare_s = prepare_s
        self._apply_s = apply_s
        self._holding: list[Path] = []

    async def prepare(self, file: Path, token: str, octets: int = 0) -> list[Answer]:
        """Have every daemon prepare the candidate, a file of so many octets; gives what each said."""

        longest_s = self._prepare_s + octets / _OCTETS_PER_S
        args = {"file": str(file), "token": token, "hold_s": longest_s + HELD_S}

        async def one(path: Path) -> Answer:
            try:
                found = await self._call(path, "configuration_prepare", longest_s, **args)
            except control.NotReached:
                return Answer(path.stem, "absent")
            except GatepostError as error:
                if error.status == EX_NOPERM:
                    return Answer(path.stem, "apart")
                return Answer(path.stem, "refused", _reasons(error, file))
            return Answer(path.stem, "ready", restart=tuple(map(str, found["restart"])))

        self._holding = list(self._sockets())
        answers = await _each(one, self._holding)
        self._holding = [path for path, said in zip(self._holding, answers, strict=True) if said.state in _HELD]
        return answers

    async def apply(self, token: str, digest: str) -> list[Answer]:
        """Have those that prepared apply; one that was restarted in between goes by the file and is right too."""

        async def one(path: Path) -> Answer:
            try:
                await self._call(path, "configuration_apply", self._apply_s, token=token)
            except control.NotReached:
                return Answer(path.stem, "absent")
            except GatepostError as error:
                if await self._goes_by(path, digest):
                    return Answer(path.stem, "in force")
                return Answer(path.stem, "late", _reasons(error))
            return Answer(path.stem, "in force")

        return await _each(one, self._holding)

    async def drop(self, token: str | None = None) -> None:
        """Have them let go of the candidate (without a token of any); one that does not answer does so by itself."""
        what = {} if token is None else {"token": token}

        async def one(path: Path) -> None:
            try:
                await self._call(path, "configuration_drop", _DROP_S, **what)
            except GatepostError:
                return

        await _each(one, self._holding)

    async def behind(self, digest: str) -> list[Answer]:
        """Give the daemons that run and do not go by the file of that digest."""

        async def one(path: Path) -> Answer:
            try:
                found = await self._call(path, "configuration_state", _DROP_S)
            except GatepostError:
                return Answer(path.stem, "absent")
            return Answer(path.stem, "in force" if found["digest"] == digest else "late")

        self._holding = list(self._sockets())
        return [said for said in await _each(one, self._holding) if said.state == "late"]

    async def _goes_by(self, path: Path, digest: str) -> bool:
        try:
            found = await self._call(path, "configuration_state", _DROP_S)
        except GatepostError:
            return False
        return bool(found["digest"] == digest)

    async def _call(self, path: Path, verb: str, timeout_s: float, **args: Any) -> Any:
        return await control.call(path, verb, timeout_s=timeout_s, **args)

    def _sockets(self) -> Iterable[Path]:
        for name in ON.get(self._role, DAEMONS):
            if name == "gateway":
                yield from sorted(self._run.glob("gateway-*.sock")) or [self._run / "gateway-0.sock"]
            else:
                yield self._run / f"{name}.sock"


_HELD = ("ready", "refused")
"""One that refused may have been too slow, and holds a candidate after all."""


async def _each(ask: Callable[[Path], Any], paths: Sequence[Path]) -> list[Any]:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(path)) for path in paths]
    return [task.result() for task in asked]


def _reasons(error: GatepostError, file: Path | None = None) -> tuple[str, ...]:
    return tuple(line.removeprefix(f"{file}: ") for line in error.text.splitlines())
