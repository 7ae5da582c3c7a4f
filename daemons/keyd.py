"""keyd: will hold the support keys and the engineer CA; for now it answers health checks.

Listens on run/keyd.sock only. Owns nothing yet.
"""

from pathlib import Path

from core.runtime import Daemon
from daemons.machine import Machine


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    return Daemon("keyd", [], machine.socket("keyd"), grace_s=machine.document.runtime.grace_s)
