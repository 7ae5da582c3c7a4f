"""gatepost bastion: help costs no database, no configuration models and no event loop of C."""

import subprocess
import sys

HEAVY = {"apsw", "asyncpg", "pydantic", "uvloop", "daemons.support.opened_bastion", "tunnel.keyd.client"}


def test_help_imports_nothing_that_only_the_commands_need() -> None:
    code = "import sys; from daemons.gatepost import parser; parser('bastion'); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())
    assert "daemons.support.case" in loaded
    assert HEAVY & loaded == set()
