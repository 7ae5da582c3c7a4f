"""What makes a lab of machines that run: each gateway paired with the SMA over SSH, support's access opened.

Called once when all daemons are ready, on one machine by `Lab.up`, between containers by `gatepost lab join`.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from core.ssh import key as ssh_key
from ops.lab.layout import Layout
from ops.lab.machines import gatepost, public_key
from ops.lab.support import open_access


async def join(layout: Layout, facts: dict[str, Any], report: Callable[[str], None]) -> None:
    """Pair, enrol, open access and certify the engineer."""
    report("pairing ESA and SMA")
    for name in layout.esas:
        fingerprint = ssh_key.fingerprint(public_key(layout, f"{name}/keys/host_ed25519"))
        await run_gatepost(
            *("pair", "--config", str(layout.config("sma")), "--appliance", facts[name]["ssh"]),
            *("--key", facts["admin_key"], "--fingerprint", fingerprint),
        )
    report("tunnel and engineer's certificate")
    await open_access(layout, facts, run_gatepost, layout.control("bastion", "bastion"))


async def run_gatepost(*args: str, stdin: str = "") -> str:
    """Run the executable in a thread."""
    return await asyncio.to_thread(partial(gatepost, stdin=stdin), *args)
