import subprocess
import sys

import pytest

CODE = "from core.killpoint import killpoint\nfor name in 'abab': killpoint(name); print(name, end='', flush=True)"


@pytest.mark.parametrize(("wanted", "printed", "status"), [("", "abab", 0), ("b", "a", -9), ("a:2", "ab", -9)])
def test_a_process_dies_at_the_named_passage(wanted: str, printed: str, status: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"GATEPOST_KILL_AT": wanted, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.returncode) == (printed, status)
