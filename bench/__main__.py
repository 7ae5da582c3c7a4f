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
from pathlib import Path

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


def _turn(case: Case, system: type[Gatepost] | type[Postfix], folder: Path) -> Measure:
    folder.mkdir(parents=True)
    instance: System = system(folder)
    result = measure(case, instance)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _run_case(case: Case, peers: list[type[Postfix]], rounds: int, folder: Path) -> dict[str, object]:
    turns: dict[str, list[Measure]] = {}
    for number in range(rounds):
        for system in (Gatepost, *peers):
            print(f"  {case.name} round {number + 1}/{rounds}: {system.name:10}", end="", flush=True)
            result = _turn(case, system, folder / f"{case.name}-{number}-{system.name}")
            turns.setdefault(system.name, []).append(result)
            print(f"{result.delivered_per_s:9.0f} delivered/s {result.cpu_ms_per_message:7.3f} ms CPU", flush=True)
    ours = _median(turns["gatepost"]) | {"p99_ms": latency_p99_ms(case, folder / f"{case.name}-latency")}
    theirs = {peer.name: _median(turns[peer.name]) for peer in peers}

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
        "ours": ours,
        "peers": theirs,
        "ratio_delivered": ratio("delivered_per_s"),
        "ratio_accepted": ratio("accepted_per_s"),
    }


def _table(cases: list[dict[str, object]]) -> None:
    print(f"\n{'case':16} {'system':10} {'accepted/s':>11} {'delivered/s':>12} {'CPU ms':>8} {'MiB':>6} {'ratio':>7}")
    for case in cases:
        rows = {"gatepost": case["ours"], **case["peers"]}  # type: ignore[dict-item]
        for name, row in rows.items():
            ratio = case["ratio_delivered"].get(name, "")  # type: ignore[attr-defined]
            print(
                f"{case['name']:16} {name:10} {row['accepted_per_s']:11.0f} {row['delivered_per_s']:12.0f} "
                f"{row['cpu_ms_per_message']:8.3f} {row['peak_mib']:6.0f} {ratio and f'{ratio}x':>7}"
            )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="all")
    parser.add_argument("--peers", default="postfix", help="comma separated; none = only ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the spools go (default: a temporary folder)")
    args = parser.parse_args()
    peers = [Postfix] if "postfix" in args.peers.split(",") else []
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir=args.folder) as name:
        cases = [_run_case(case, peers, args.rounds, Path(name)) for case in chosen(args.cases)]
    RESULTS.write_text(json.dumps({"cases": cases}, indent=1) + "\n")
    _table(cases)
    print(f"\nwritten to {RESULTS}")
    return 0


sys.exit(main())
