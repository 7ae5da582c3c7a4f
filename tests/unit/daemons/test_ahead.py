import subprocess
import sys

import pytest

FINE = {"core.aiosmtpd_handler"}
"""Imported late, but while the daemon is wired."""
CALLS_CONSOLES = "release-host"
"""The only one that uses what `cpq.locate` has SSH for."""
SCRIPT = """
import ast, importlib, sys
from daemons.ahead import import_ahead
daemon, *fine = sys.argv[1:]
importlib.import_module("daemons." + daemon.replace("-", "_"))
import_ahead(daemon)
ours = ("core", "cpq", "daemons", "mail", "ops", "protocol", "tunnel")
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] not in ours or not getattr(module, "__file__", None):
        continue
    for function in ast.walk(ast.parse(open(module.__file__).read())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ours:
                    if node.module not in sys.modules and node.module not in fine:
                        print(f"{name}:{node.lineno} imports {node.module}")
"""


@pytest.mark.parametrize("daemon", ["console", "release-host", "delivery-queue", "bastion"])
def test_a_daemon_whose_files_are_replaced_imports_none_of_the_new_ones(daemon: str) -> None:
    """A commit after an upgrade imported code of the new release into a console of the old one."""
    fine = FINE | (set() if daemon == CALLS_CONSOLES else {"core.ssh"})
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, daemon, *fine], capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.stdout, found.stderr) == ("", "")
