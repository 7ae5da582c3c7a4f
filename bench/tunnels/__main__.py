"""Remote access at scale: so many tunnels on one bastion, and what an engineer notices while all of them come back.

    python -m bench.tunnels [--appliances 2000] [--json] [--rounds 3] [--mebibytes 64] [--net 127.71] [--folder DIR]

Real daemons (bastion, keyd, an ESA with its tunnel and console), simulated appliances in a process of their own that
run the appliance's own code, an engineer who types in a recorded session, stock `scp`. Measures memory of an idle
tunnel, two storms (all connections cut at once, half of them without a word; the bastion started again), and a file
through the bastion against OpenSSH alone. Ends with status 1 if a bar is missed. Writes bench/results/tunnels.json.

Each tunnel needs a descriptor at either end: the limit of open files must be above the number of appliances by 300.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import RESULTS
from bench.tunnels import transfer
from bench.tunnels.typist import Typist
from bench.tunnels.world import Fleet, World

MEMORY_KIB, ECHO_MS = 40.0, 200.0
_PER_TUNNEL_S = 0.15
"""Bound of each wait for all tunnels: so long for each, and a minute besides."""
_QUIET_S = 10.0


class Bench:
    """One run."""

    def __init__(self, world: World, arguments: argparse.Namespace) -> None:
        self._world = world
        self._count: int = arguments.appliances
        self._arguments = arguments
        self._begun = time.monotonic()
        self._why = ""
        self._bound_s = 60 + _PER_TUNNEL_S * self._count
        self.results: dict[str, Any] = {
            "appliances": self._count,
            "load_at_begin": os.getloadavg()[0],
            "processors": os.cpu_count(),
        }

    def say(self, text: str) -> None:
        """Say how far it is."""
        print(f"[{time.monotonic() - self._begun:5.0f} s] {text}", file=sys.stderr, flush=True)

    async def run(self) -> None:
        """Measure everything."""
        world = self._world
        self.say("making machines, enrolling appliances")
        await world.up()
        self._transfers()
        typist = Typist(world.lab.facts)
        before = world.usage()
        over_s = self._count / 60
        self.say(f"{self._count} appliances dial in, spread over {over_s:.0f} s")
        async with world.fleet(over_s) as fleet:
            await self._all_back(fleet)
            self.say("all are online; quiet for a moment")
            await asyncio.sleep(_QUIET_S)
            self._memory(before.rss)
            self.results["cut"] = await self._storm(fleet, typist, restart=False)
            self.results["restart"] = await self._storm(fleet, typist, restart=True)
        self.results["load_at_end"] = os.getloadavg()[0]

    def _memory(self, before: int) -> None:
        after = self._world.usage().rss
        self.results["memory"] = {
            "before_mib": round(before / 2**20, 1),
            "after_mib": round(after / 2**20, 1),
            "kib_per_tunnel": round((after - before) / 1024 / self._count, 1),
        }
        self.say(f"{self.results['memory']}")

    async def _all_back(self, fleet: Fleet) -> None:
        """Wait until every appliance is connected and the bastion has seen its console."""
        if not await fleet.until_open(self._count, self._bound_s):
            raise SystemExit(f"bench: {fleet.told['open']} of {self._count} tunnels in {self._bound_s:.0f} s")
        await self._world.until_online(self._count + 1, self._bound_s)
        names, rows = await self._world.online()
        if names != self._world.serials or rows != self._count:
            raise SystemExit(f"bench: {len(names)} names are online in {rows} rows, there are {self._count}")

    async def _storm(self, fleet: Fleet, typist: Typist, *, restart: bool) -> dict[str, Any]:
        world = self._world
        async with asyncio.TaskGroup() as group:
            typing = group.create_task(self._type(typist))
            if not restart:
                await asyncio.sleep(_QUIET_S)
            begun, cpu = time.monotonic(), world.usage().cpu_s
            quiet = typist.between(begun - _QUIET_S, begun)
            self.say("the bastion is started again" if restart else f"keys before: {quiet}; all connections are cut")
            if restart:
                fleet.say("mark")
                cpu = 0.0
                restarted = await world.restart_bastion()
            else:
                restarted = {}
                fleet.say("cut")
            await asyncio.sleep(1)
            progress = group.create_task(self._progress(fleet))
            await fleet.until_open(self._count, self._bound_s)
            connected_s = time.monotonic() - begun
            await self._all_back(fleet)
            ended = time.monotonic()
            progress.cancel()
            typing.cancel()
        used = world.usage().cpu_s - cpu
        back = sorted(fleet.told["back_s"])
        figures = {
            "connected_s": round(connected_s, 1),
            "online_s": round(ended - begun, 1),
            "half_back_s": back[len(back) // 2] if back else 0.0,
            "bastion_cpu_s": round(used, 1),
            "bastion_cpu_ms_per_tunnel": round(1000 * used / self._count, 2),
            "rounds": fleet.told["rounds"],
            "asked_to_wait": fleet.told["asked_to_wait"],
            "longest_wait_s": round(fleet.told["longest_wait_s"], 1),
            "troubles": fleet.told["troubles"],
            "echo_before": quiet,
            "echo": typist.between(begun, ended),
            "load": os.getloadavg()[0],
            **restarted,
        }
        self.say(f"{figures}")
        return figures

    async def _type(self, typist: Typist) -> None:
        """Type, and come back when cut off, as an engineer would."""
        while True:
            try:
                await typist.type()
            except (OSError, SystemExit, TimeoutError) as error:
                self._out(str(error))
            except Exception as error:  # asyncssh's own
                self._out(f"{type(error).__name__} {error}")
            await asyncio.sleep(1)

    def _out(self, why: str) -> None:
        why = why.strip()[:120]
        if why != self._why:
            self._why = why
            self.say(f"the engineer is not in: {why}")

    async def _progress(self, fleet: Fleet) -> None:
        while True:
            await asyncio.sleep(5)
            told = fleet.told
            self.say(f"{told['open']} of {self._count} are back; told to wait {told['asked_to_wait']} times")

    def _transfers(self) -> None:
        arguments, world = self._arguments, self._world
        if not arguments.rounds:
            return
        net = arguments.net
        roads = transfer.Roads(
            world.lab.facts, world.folder / "transfer", (f"{net}.5.1", f"{net}.5.2"), arguments.mebibytes
        )
        turns = []
        with roads.peers():
            time.sleep(0.5)
            for number in range(arguments.rounds):
                turn = {}
                for road in (transfer.PEER, transfer.RECORDED, transfer.STRAIGHT):
                    turn[road] = roads.fetch(road)
                turns.append(turn)
                shown = ", ".join(f"{road} {speed:.1f}" for road, speed in turn.items())
                self.say(f"file, turn {number + 1} of {arguments.rounds}, MiB/s: {shown}")
        self.results["file"] = {"mebibytes": arguments.mebibytes, **transfer.summary(turns)}

    def bars(self) -> list[tuple[str, float, float]]:
        """Give what is judged: name, figure, bar."""
        results = self.results
        return [
            ("resident for an idle tunnel, KiB", results["memory"]["kib_per_tunnel"], MEMORY_KIB),
            ("keystroke echo while all come back, p99 ms", results["cut"]["echo"]["p99_ms"], ECHO_MS),
            ("the same after a restart, p99 ms", results["restart"]["echo"]["p99_ms"], ECHO_MS),
        ]

    def table(self) -> str:
        """Give the figures for people."""
        results = self.results
        lines = [f"{self._count} appliances, load {results['load_at_begin']:.1f} to {results['load_at_end']:.1f}"]
        for name, title in (("cut", "all cut at once"), ("restart", "bastion started again")):
            storm = results[name]
            lines.append(
                f"{title:24} all back {storm['connected_s']:6.1f} s, online {storm['online_s']:6.1f} s, half "
                f"{storm['half_back_s']:6.1f} s; {storm['bastion_cpu_ms_per_tunnel']} ms CPU a tunnel; echo p50 "
                f"{storm['echo']['p50_ms']:.0f} p99 {storm['echo']['p99_ms']:.0f} of {storm['echo']['keys']} keys"
            )
        if "file" in results:
            file = results["file"]
            lines.append(f"file of {file['mebibytes']} MiB, MiB/s  {file['mib_per_s']}, ratio {file['ratio']}")
        for name, figure, bar in self.bars():
            lines.append(f"{name:45} {figure:8.1f}  bar {bar:6.0f}  {'pass' if figure <= bar else 'FAIL'}")
        return "\n".join(lines)


async def _measure(arguments: argparse.Namespace) -> Bench:
    folder = Path(tempfile.mkdtemp(prefix="gatepost-tunnels-", dir=arguments.folder))
    os.chmod(folder, 0o755)
    world = World(folder, arguments.net, arguments.appliances)
    bench = Bench(world, arguments)
    try:
        await bench.run()
    finally:
        await world.down()
    return bench


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.tunnels", description=__doc__.splitlines()[0])
    parser.add_argument("--appliances", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="of the file over each road; 0 leaves that out")
    parser.add_argument("--mebibytes", type=int, default=64, help="size of the file")
    parser.add_argument("--net", default="127.71")
    parser.add_argument("--folder", type=Path, help="where the machines are made (default: the temporary folder)")
    parser.add_argument("--json", action="store_true", help="print the document instead of the table")
    arguments = parser.parse_args()
    needed = arguments.appliances + 300
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        raise SystemExit(f"bench: {arguments.appliances} tunnels need {needed} open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bench = asyncio.run(_measure(arguments))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tunnels.json").write_text(json.dumps(bench.results, indent=1) + "\n")
    print(json.dumps(bench.results) if arguments.json else bench.table())
    return int(any(figure > bar for _, figure, bar in bench.bars()))


if __name__ == "__main__":
    sys.exit(main())
