"""Measure accept and delivery against peers: the same client (smtp-source), the same sink (smtp-sink), turn by turn.

    python -m bench [--cases all|4k-kept-20,…] [--peers postfix|none] [--rounds 3] [--folder DIR]

Delivered per second counts until the sink has the last message. Machines differ and are shared: quote the ratio,
which compares rounds of one run. Writes bench/results/latest.json in the shape of docs/performance.md.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.case import Case, chosen
from bench.load import Measure, latency_p99_ms, measure
from bench.system import Gatepost, Postfix, System

RESULTS = Path(__file__).parent / "results" / "latest.json"


def _median(measures: list[Measure]) -> dict[str, float]:
    def middle(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "accepted_per_s": middle([m.accepted_per_s for m in measures]),
        "delivered_per_s": middle([m.delivered_per_s for m in measures]),
        "cpu_ms_per_message": middle([m.cpu_ms_per_message for m in measures]),
        "peak_mib": middle([m.peak_mib for m in measures]),
    }


Kind = type[Gatepost] | type[Postfix]


@contextmanager
def _made(system: Kind, folder: Path) -> Iterator[System]:
    """Make a system with a folder of its own, which goes with it."""
    folder.mkdir(parents=True)
    try:
        yield system(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_case(case: Case, peers: list[type[Postfix]], rounds: int, folder: Path) -> dict[str, Any]:
    systems: list[Kind] = [Gatepost, *peers]
    turns: dict[str, list[Measure]] = {}
    for number in range(rounds):
        for system in systems:
            print(f"  {case.name} round {number + 1}/{rounds}: {system.name:10}", end="", flush=True)
            with _made(system, folder / f"{case.name}-{number}-{system.name}") as instance:
                result = measure(case, instance)
            turns.setdefault(system.name, []).append(result)
            print(f"{result.delivered_per_s:9.0f} delivered/s {result.cpu_ms_per_message:7.3f} ms CPU", flush=True)
    rows = {name: _median(measures) for name, measures in turns.items()}
    for system in systems:
        with _made(system, folder / f"{case.name}-latency-{system.name}") as instance:
            rows[system.name]["p99_ms"] = latency_p99_ms(case, instance)

    def ratio(what: str) -> dict[str, float]:
        return {
            peer.name: round(
                statistics.median(
                    getattr(a, what) / getattr(b, what)
                    for a, b in zip(turns["gatepost"], turns[peer.name], strict=True)
                ),
                2,
            )
            for peer in peers
        }

    return {
        "name": case.name,
        "ours": rows.pop("gatepost"),
        "peers": rows,
        "ratio_delivered": ratio("delivered_per_s"),
        "ratio_accepted": ratio("accepted_per_s"),
    }


def _table(cases: list[dict[str, Any]]) -> None:
    head = f"{'accepted/s':>11} {'delivered/s':>12} {'CPU ms':>8} {'MiB':>6} {'p99 ms':>7} {'ratio':>7}"
    print(f"\n{'case':16} {'system':10} {head}")
    for case in cases:
        rows = {"gatepost": case["ours"], **case["peers"]}
        for name, row in rows.items():
            ratio = case["ratio_delivered"].get(name, "")
            print(
                f"{case['name']:16} {name:10} {row['accepted_per_s']:11.0f} {row['delivered_per_s']:12.0f} "
                f"{row['cpu_ms_per_message']:8.3f} {row['peak_mib']:6.0f} {row['p99_ms']:7.1f} "
                f"{ratio and f'{ratio}x':>7}"
            )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="all")
    parser.add_argument("--peers", default="postfix", help="comma separated; none = only ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the spools go (default: a temporary folder)")
    args = parser.parse_args()
    wanted = set(args.peers.split(",")) - {"none"}
    if unknown := wanted - {Postfix.name}:
        parser.error(f"no peer is called {', '.join(sorted(unknown))}; there are: postfix, none")
    peers = [Postfix] if wanted else []
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir=args.folder) as name:
        Path(name).chmod(0o755)  # Postfix's own user looks into it
        cases = [_run_case(case, peers, args.rounds, Path(name)) for case in chosen(args.cases)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"cases": cases}, indent=1) + "\n")
    _table(cases)
    print(f"\nwritten to {RESULTS}")
    return 0


sys.exit(main())
