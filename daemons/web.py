"""web: will be the operator web UI; for now it answers health checks.

Listens on run/web.sock only. Owns nothing yet.
"""

from pathlib import Path

from core.runtime import Daemon
from daemons.machine import Machine


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    return Daemon("web", [], machine.socket("web"), grace_s=machine.document.runtime.grace_s)
