"""Remote access in a lab: the support organisation's side, done with the verbs that a person would type.

Called once by `Lab.up` when all daemons are ready. Appliances are enrolled at the bastion, the ESA's tunnel is enabled,
and the engineer gets a certificate for an hour.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from core.control import call
from core.disk import Disk, replace_file
from core.errors import EX_TEMPFAIL, GatepostError
from core.ssh import key as ssh_key
from ops.lab.layout import BASTION_PORTS, Layout

Run = Callable[..., Awaitable[str]]
"""Runs the executable with words and gives what it printed."""


async def open_access(layout: Layout, facts: dict[str, Any], run: Run, bastion: Path) -> None:
    """Enrol ESA and SMA, open the ESA's tunnel, certify the engineer. `bastion` is that daemon's control socket."""
    await _enroll(layout, facts, run)
    await _certify(layout, facts, run)
    await run("cli", "--config", str(layout.config("esa")), "techsupport", "tunnel", "--port", str(BASTION_PORTS[0]))
    await _until_online(facts["esa"]["serial"].lower(), bastion)


async def _enroll(layout: Layout, facts: dict[str, Any], run: Run) -> None:
    for role in ("esa", "sma"):
        request = str(layout.dir / f"{role}-enrolment.json")
        await run("bastion", "request", "--config", str(layout.config(role)), "--out", request)
        words = ("bastion", "enroll", facts[role]["serial"], "--request", request)
        await run(*words, "--config", str(layout.config("bastion")))


async def _certify(layout: Layout, facts: dict[str, Any], run: Run) -> None:
    engineer = facts["engineer"]
    public = Path(engineer["key"] + ".pub")
    line = ssh_key.public_text(ssh_key.ensure_key(Path(engineer["key"]), "lab engineer"))
    replace_file(Disk(), public, line.encode() + b"\n", mode=0o644)
    words = ["bastion", "ca", "sign", "--config", str(layout.config("bastion")), "--key", str(public)]
    words += ["--engineer", "eng-lab", "--case", "LAB-1"]
    words += ["--serials", facts["esa"]["serial"], facts["sma"]["serial"], "--minutes", "60", "--forwarding"]
    await run(*words, "--out", engineer["certificate"])


async def _until_online(serial: str, bastion: Path) -> None:
    for _ in range(200):
        tunnels = await call(bastion, "tunnels")
        if any(row["serial"] == serial and row["online"] for row in tunnels["tunnels"]):
            return
        await asyncio.sleep(0.05)
    raise GatepostError("the ESA's tunnel did not come up within 10 s; see log/esa-tunnel-client.log", EX_TEMPFAIL)
