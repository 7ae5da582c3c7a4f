"""Flame graphs of the data path: where both daemons spend their time under a load.

    python -m bench.profile [--case 4k-kept-20] [--seconds 10]

Writes bench/results/flame-gateway.svg and flame-delivery-queue.svg (open them in a browser; the width of a box is its
share of the samples). py-spy samples from outside, so the daemons run as they always do.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.case import chosen
from bench.load import loaded
from bench.ours import Gatepost
from bench.report import RESULTS
from bench.system import make_keys

_RATE = 500


def main() -> int:
    """Record both daemons at once."""
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__.splitlines()[0])
    parser.add_argument("--case", default="4k-kept-20")
    parser.add_argument("--seconds", type=int, default=10)
    args = parser.parse_args()
    case = chosen(args.case)[0]
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gatepost-profile-") as name:
        ours = Gatepost(Path(name), make_keys(Path(name)))
        with loaded(case, ours, Path(name)):
            recorders = []
            for daemon, pid in ours.pids.items():
                target = RESULTS / f"flame-{daemon}.svg"
                argv = ["py-spy", "record", "--pid", str(pid), "--duration", str(args.seconds), "--rate", str(_RATE)]
                argv = [str(Path(sys.executable).parent / argv[0]), *argv[1:], "--output", str(target), "--nonblocking"]
                recorders.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                print(f"{daemon}: {target}")
            failed = [recorder for recorder in recorders if recorder.wait()]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
