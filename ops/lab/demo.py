"""`gatepost lab demo`: the main job on real parts, with the management host away in the middle.

Sends real messages from outside, holds some centrally, restarts the SMA, releases half and deletes half, reaches
the ESA's console through the tunnel, and compares what arrived with what was sent, byte for byte. Speaks to the
appliances as people do: over SSH. True at the end only if all of it holds.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from core.errors import EX_TEMPFAIL, GatepostError
from core.ssh import run_command
from ops.lab.layout import Layout
from ops.lab.maildir import Maildir
from ops.lab.plan import Ledger, Planned, make_plan
from ops.lab.progress import Bar, say, table
from ops.lab.sender import send_all
from ops.lab.visit import Row, Visit

_WAIT_S = 45.0


class Running(Protocol):
    """A lab that is up, on this machine (`build.Lab`) or in containers (`contained.Contained`)."""

    layout: Layout
    facts: dict[str, Any]

    async def stop(self, name: str) -> None:
        """Let a machine's daemons finish and end."""

    async def restart(self, name: str) -> None:
        """Start them again, and wait until they are ready."""


class Demo:
    """One run of the main job on a lab that is up."""

    def __init__(self, lab: Running, count: int) -> None:
        self._lab = lab
        self._plan = make_plan(count)
        self._maildir = Maildir(lab.layout.maildir)
        self._ledger = Ledger(self._plan)

    async def run(self) -> bool:
        """Do it all; true if everything is as it must be."""
        self._ledger.ignore(self._maildir.refresh())
        half = len(self._plan) // 2
        bar = Bar("messages sent", len(self._plan))
        await self._send(self._plan[:half], bar)
        await self._lab.stop("sma")
        await self._send(self._plan[half:], bar)
        say(f"the SMA is down: {await self._waiting_for_sma()} recipients wait in the.cpq.host")
        await self._lab.restart("sma")
        held = [one for one in self._plan if one.held]
        rows = await self._until_held(len(held))
        released, deleted = await self._decide(rows)
        support = await Visit(self._lab.layout, self._lab.facts).run()
        await self._until_delivered(released)
        return self._conclude(rows, released, deleted, support)

    async def _send(self, plan: list[Planned], bar: Bar) -> None:
        """Send to all gateways, each its share."""
        gateways = list(self._lab.layout.esas)
        for number, name in enumerate(gateways):
            host, _, port = self._lab.facts[name]["smtp"].rpartition(":")
            share = [one.letter for one in plan[number :: len(gateways)]]
            await send_all(host, int(port), share, bar.step)

    async def ask(self, role: str, command: str) -> Any:
        """Run a console command over SSH as the administrator and give its document."""
        host, _, port = self._lab.facts[role]["ssh"].rpartition(":")
        key = Path(self._lab.facts["admin_key"])
        known = _known_key(Path(self._lab.facts["known_hosts"]), host)
        result = await run_command(host, int(port), "admin", key, known, f"{command} --json", 30)
        if result.status:
            raise GatepostError(f"{role}: {command}: {result.stderr.decode().strip()}", result.status)
        return json.loads(result.stdout)

    async def _waiting_for_sma(self) -> int:
        hosts = [row for name in self._lab.layout.esas for row in (await self.ask(name, "tophosts"))["hosts"]]
        return sum(int(row["active_recipients"]) for row in hosts if row["host"] == "the.cpq.host")

    async def _until_held(self, count: int) -> list[dict[str, Any]]:
        bar = Bar("held in the central quarantine", count)
        deadline = time.monotonic() + _WAIT_S
        rows = await self._list()
        while len(rows) < count and time.monotonic() < deadline:
            bar.to(len(rows))
            await asyncio.sleep(0.2)
            rows = await self._list()
        bar.to(len(rows))
        return rows

    async def _list(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after = ""
        while True:
            document = await self.ask("sma", f"quarantine list --limit 200{after}")
            rows += document["messages"]
            if document["next"] is None:
                return rows
            after = f" --after {document['next']}"

    async def _decide(self, rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
        """Release every second message and delete the others; give their senders."""
        one = await self.ask("sma", f"quarantine show {rows[0]['id']}")
        why = one["quarantines"][0]
        say(f"message {one['id']} is in {why['name']} because of {why['reason']}: {one['subject']!r}")
        release, delete = rows[::2], rows[1::2]
        for verb, chosen in (("release", release), ("delete", delete)):
            for n in range(0, len(chosen), 50):
                ids = " ".join(row["id"] for row in chosen[n : n + 50])
                await self.ask("sma", f"quarantine {verb} {ids}")
        return [row["sender"] for row in release], [row["sender"] for row in delete]

    async def _until_delivered(self, released: list[str]) -> None:
        back = set(released)
        due = [one for one in self._plan if not one.tag or one.letter.sender in back]
        bounces = sum(1 for one in self._plan if one.tag == "[bounce]")
        bar = Bar("delivered to the outside mail host", len(due))
        await _until(lambda: self._delivered(due, bar) and len(self._ledger.bounced) >= bounces)
        bar.to(sum(self._ledger.complete(one) for one in due))
        await asyncio.sleep(0.5)
        self._ledger.enter(self._maildir.refresh())

    def _delivered(self, due: list[Planned], bar: Bar) -> bool:
        self._ledger.enter(self._maildir.refresh())
        complete = sum(self._ledger.complete(one) for one in due)
        if complete < len(due):
            bar.to(complete)
        return complete == len(due)

    def _conclude(
        self, rows: list[dict[str, Any]], released: list[str], deleted: list[str], support: list[Row]
    ) -> bool:
        plan, ledger = self._plan, self._ledger
        back, gone = set(released), set(deleted)
        plain = [one for one in plan if not one.tag]
        wanted = plain + [one for one in plan if one.letter.sender in back]
        unwanted = [one for one in plan if one.tag in ("[drop]", "[bounce]") or one.letter.sender in gone]
        held = [one for one in plan if one.held]
        copies = sum(len(one.letter.recipients) for one in wanted)
        table_rows = [
            ("messages sent", len(plan), len(plan)),
            ("  straight through", len(plain), sum(ledger.complete(one) for one in plain)),
            ("  held", len(held), len({row["sender"] for row in rows})),
            ("    released and delivered", len(back), sum(ledger.complete(o) for o in held if o.letter.sender in back)),
            ("    deleted, yet delivered", 0, sum(ledger.complete(o) for o in held if o.letter.sender in gone)),
            ("  dropped or bounced, yet delivered", 0, sum(ledger.complete(one) for one in unwanted)),
            ("  bounces to their senders", sum(o.tag == "[bounce]" for o in plan), ledger.bounced.total()),
            ("recipients that got their copy", copies, len(ledger.copies)),
            ("recipients that got two", 0, ledger.doubled()),
            ("messages whose bytes changed", 0, len(ledger.changed)),
        ]
        every = [*((*row, "") for row in table_rows), *support]
        table(every)
        return all(want == found for _, want, found, _ in every)


async def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not done() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


def _known_key(file: Path, host: str) -> str:
    for line in file.read_text().splitlines():
        pattern, _, key = line.partition(" ")
        if host == pattern.strip("[]").partition("]")[0]:
            return key
    raise GatepostError(f"{file} does not name {host}", EX_TEMPFAIL)
