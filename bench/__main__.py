"""Measure accept and delivery against peers: the same client (smtp-source), the same sink (smtp-sink), turn by turn.

    python -m bench [--cases all|4k-kept-20,…] [--peers all|postfix,…|none] [--rounds 3] [--folder DIR]

Delivered per second counts until the sink has the last message. Machines differ and are shared: quote the ratio,
which compares rounds of one run. Writes `latest.json`, a table and plots to bench/results/ (docs/performance.md).
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import report
from bench.case import Case, chosen
from bench.load import Failed, Latency, Measure, latency, measure
from bench.ours import Gatepost
from bench.peer import PEERS
from bench.system import System, make_keys

Kind = type[System]


def _median(measures: list[Measure]) -> dict[str, float]:
    def middle(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "accepted_per_s": middle([m.accepted_per_s for m in measures]),
        "delivered_per_s": middle([m.delivered_per_s for m in measures]),
        "cpu_ms_per_message": middle([m.cpu_ms_per_message for m in measures]),
        "peak_mib": middle([m.peak_mib for m in measures]),
    }


class Bench:
    """One run of some cases over some systems."""

    def __init__(self, folder: Path, peers: list[Kind], rounds: int) -> None:
        self._folder = folder
        self._keys = make_keys(folder)
        self._rounds = rounds
        self._systems: list[Kind] = [Gatepost, *peers]

    @contextmanager
    def _made(self, kind: Kind, name: str) -> Iterator[tuple[System, Path]]:
        """Make a system with a folder of its own, which goes with it."""
        folder = self._folder / f"{name}-{kind.name}"
        folder.mkdir(parents=True)
        try:
            yield kind(folder, self._keys), folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def case(self, case: Case, place: str) -> dict[str, Any]:
        """Measure one case; `place` says how far the run is. A peer that does not manage it is left out."""
        turns: dict[str, list[Measure]] = {kind.name: [] for kind in self._systems}
        times: dict[str, Latency] = {}
        failed: dict[str, str] = {}
        for number in range(self._rounds + 1):
            for kind in self._systems:
                if kind.name in failed:
                    continue
                what = f"round {number + 1}/{self._rounds}" if number < self._rounds else "latency  "
                print(f"{place} {case.name:20} {what}  {kind.name:10}", end="", flush=True)
                try:
                    with self._made(kind, f"{case.name}-{number}") as (system, folder):
                        if number < self._rounds:
                            turns[kind.name].append(result := measure(case.shared(kind.share), system, folder))
                            print(f"{result.delivered_per_s:9.0f} delivered/s {result.cpu_ms_per_message:8.3f} ms CPU")
                        else:
                            times[kind.name] = reached = latency(case, system)
                            print(f"{reached.p50_ms:9.2f} ms median    {reached.p99_ms:8.1f} ms p99")
                except Failed as failure:
                    if kind is Gatepost:
                        raise SystemExit(f"bench: {failure}") from failure
                    failed[kind.name] = str(failure)
                    print(f"  {failure}")
        return self._row(case, turns, times, failed)

    def _row(
        self, case: Case, turns: dict[str, list[Measure]], times: dict[str, Latency], failed: dict[str, str]
    ) -> dict[str, Any]:
        rows = {
            name: _median(measures) | {"p50_ms": times[name].p50_ms, "p99_ms": times[name].p99_ms}
            for name, measures in turns.items()
            if name not in failed
        }
        return {
            "name": case.name,
            "ours": rows.pop(Gatepost.name),
            "peers": rows,
            "ratio_delivered": self._ratio(turns, rows, "delivered_per_s"),
            "ratio_accepted": self._ratio(turns, rows, "accepted_per_s"),
            "failed": failed,
        }

    def _ratio(self, turns: dict[str, list[Measure]], peers: Iterable[str], what: str) -> dict[str, float]:
        """Give the median of the rounds' ratios for each peer."""
        ours = turns[Gatepost.name]
        return {
            peer: round(
                statistics.median(getattr(a, what) / getattr(b, what) for a, b in zip(ours, turns[peer], strict=True)),
                2,
            )
            for peer in peers
        }


def _peers(names: str) -> list[Kind]:
    if names == "all":
        return list(PEERS.values())
    wanted = [name for name in names.split(",") if name != "none"]
    if unknown := [name for name in wanted if name not in PEERS]:
        raise SystemExit(f"bench: no peer is called {', '.join(unknown)}; there are: {', '.join(PEERS)}, none")
    return [PEERS[name] for name in wanted]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="all")
    parser.add_argument("--peers", default="postfix", help="comma separated, or all; none = only ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the spools go (default: a temporary folder)")
    args = parser.parse_args()
    cases, peers = chosen(args.cases), _peers(args.peers)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir=args.folder) as name:
        Path(name).chmod(0o755)  # users of the peers look into it
        bench = Bench(Path(name), peers, args.rounds)
        done = []
        for number, case in enumerate(cases):
            done.append(bench.case(case, f"[{number + 1}/{len(cases)}]"))
            report.write(done)  # a run that is broken off leaves what it has
    print(f"\n{report.table(done)}\n\n{time.monotonic() - began:.0f} s; written to {report.RESULTS}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
