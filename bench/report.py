"""What a run came to: `latest.json`, a table, plots."""

import importlib.util
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

_COLUMNS = (
    ("accepted/s", "accepted_per_s", "11.0f"),
    ("delivered/s", "delivered_per_s", "12.0f"),
    ("CPU s/1000", "cpu_ms_per_message", "11.3f"),
    ("MiB", "peak_mib", "6.0f"),
    ("p50 ms", "p50_ms", "8.1f"),
    ("p99 ms", "p99_ms", "8.1f"),
)


def write(cases: list[dict[str, Any]]) -> None:
    """Write everything that is known so far."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")
    (RESULTS / "latest.txt").write_text(table(cases) + "\n")
    if importlib.util.find_spec("matplotlib"):
        _plot(cases)


def table(cases: list[dict[str, Any]]) -> str:
    """Give the figures as text; `ratio` is ours to the peer's, delivered."""
    heads = "".join(f"{head:>{int(form.split('.')[0]) + 1}}" for head, _, form in _COLUMNS)
    lines = [f"{'case':20} {'system':10}{heads}  ratio"]
    for case in cases:
        for name, row in {"gatepost": case["ours"], **case["peers"]}.items():
            cells = "".join(f" {row[key]:{form}}" for _, key, form in _COLUMNS)
            ratio = case["ratio_delivered"].get(name)
            lines.append(f"{case['name']:20} {name:10}{cells}  {f'{ratio}x' if ratio else ''}".rstrip())
        lines += [f"{case['name']:20} {name:10}  failed: {why}" for name, why in case["failed"].items()]
    return "\n".join(lines)


def _plot(cases: list[dict[str, Any]]) -> None:
    """Draw one picture for each figure: groups of bars, a group for each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures = (
        ("delivered_per_s", "delivered per second"),
        ("accepted_per_s", "accepted per second"),
        ("cpu_ms_per_message", "CPU seconds per 1,000 messages"),
        ("p99_ms", "end of data to 250, 99th percentile, ms"),
        ("peak_mib", "peak memory, MiB"),
    )
    systems = ["gatepost", *dict.fromkeys(name for case in cases for name in case["peers"])]
    for key, title in pictures:
        figure, axes = pyplot.subplots(figsize=(max(6.0, 1.1 * len(cases)), 4.5), layout="constrained")
        width = 0.8 / len(systems)
        for index, system in enumerate(systems):
            rows = [case["ours"] if system == "gatepost" else case["peers"].get(system, {}) for case in cases]
            values = [row.get(key, 0) for row in rows]
            axes.bar([place + index * width for place in range(len(cases))], values, width, label=system)
        axes.set_xticks([place + 0.4 - width / 2 for place in range(len(cases))], [case["name"] for case in cases])
        axes.tick_params(axis="x", labelrotation=30)
        axes.set_yscale("log")
        axes.set_title(f"{title} (logarithmic)")
        axes.legend()
        figure.savefig(RESULTS / f"{key}.png", dpi=110)
        pyplot.close(figure)
