"""Remote access in a lab: the support organisation's side, done with the verbs that a person would type.

Called once by `ops/lab/join.py`. All appliances are enrolled at the bastion; the first ESA's tunnel and
the SMA's service access are enabled; engineer `ana` gets a case, whose seeds are registered and which a second person
approves, and a certificate for an hour.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from core.control import call
from core.disk import Disk, replace_file
from core.errors import EX_TEMPFAIL, GatepostError
from core.ssh import key as ssh_key
from ops.lab.layout import Layout

ENGINEER, APPROVER, CASE = "ana", "ben", "LAB-1"
Run = Callable[..., Awaitable[str]]
"""Runs the executable with words, and with `stdin` for what must not stand among them; gives what it printed."""


async def open_access(layout: Layout, facts: dict[str, Any], run: Run, bastion: Path) -> None:
    """Enrol the appliances, let support into both, certify the engineer. `bastion` is that daemon's control socket."""
    await _enroll(layout, facts, run)
    seeds = await _enable(layout, run)
    await _until_online(facts[layout.first]["serial"].lower(), bastion)
    await _open_case(layout, facts, run, seeds)
    await certify(layout, facts, run)


async def _enroll(layout: Layout, facts: dict[str, Any], run: Run) -> None:
    for name in (*layout.esas, "sma"):
        request = str(layout.dir / f"{name}-enrolment.json")
        await run("bastion", "request", "--config", str(layout.config(name)), "--out", request)
        words = ("bastion", "enroll", facts[name]["serial"], "--request", request)
        await run(*words, "--config", str(layout.config("bastion")))


async def _enable(layout: Layout, run: Run) -> dict[str, str]:
    """Enable access on both, as their administrators would; gives the seed strings by machine."""
    tunnel = ["tunnel", "--port", str(layout.ports.bastion[0]), "--hops", layout.sma]
    ways = {layout.first: tunnel, "sma": ["sshaccess"]}
    seeds = {}
    for name, words in ways.items():
        config = str(layout.config(name))
        seeds[name] = json.loads(await run("cli", "--config", config, "techsupport", *words, "--json"))["seed"]
    return seeds


async def _open_case(layout: Layout, facts: dict[str, Any], run: Run, seeds: dict[str, str]) -> None:
    serials = {name: facts[name]["serial"] for name in seeds}
    first = serials[layout.first]
    key = Path(facts["engineer"]["key"])

    async def desk(*words: str, stdin: str = "") -> None:
        await run("bastion", *words, "--config", str(layout.config("bastion")), stdin=stdin)

    await desk("engineer", "add", ENGINEER, "--key", _public(key), "--roles", "shell,sftp,forward")
    await desk("engineer", "add", APPROVER, "--key", _public(key.with_name("approver_ed25519")))
    await desk("case", "open", CASE, "--serial", first, "--engineer", ENGINEER)
    await desk("case", "open", CASE, "--serial", serials["sma"], "--via", first, "--address", layout.sma)
    for name, seed in seeds.items():
        await desk("case", "seed", CASE, serials[name], stdin=f"{seed}\n")
    await desk("case", "approve", CASE, "--by", APPROVER)


def _public(key: Path) -> str:
    """Make a person's key where it is missing, with its public half beside it; gives the name of that file."""
    public = key.with_name(key.name + ".pub")
    line = ssh_key.public_text(ssh_key.ensure_key(key, f"lab {key.name.partition('_')[0]}"))
    replace_file(Disk(), public, line.encode() + b"\n", mode=0o644)
    return str(public)


async def certify(layout: Layout, facts: dict[str, Any], run: Run) -> None:
    """Sign the engineer's certificate, for an hour."""
    engineer = facts["engineer"]
    words = ["bastion", "ca", "sign", "--config", str(layout.config("bastion")), "--key", engineer["key"] + ".pub"]
    words += ["--engineer", ENGINEER, "--case", CASE]
    words += ["--serials", facts[layout.first]["serial"], facts["sma"]["serial"], "--minutes", "60", "--forwarding"]
    await run(*words, "--out", engineer["certificate"])


async def _until_online(serial: str, bastion: Path) -> None:
    for _ in range(200):
        tunnels = await call(bastion, "tunnels")
        if any(row["serial"] == serial and row["online"] for row in tunnels["tunnels"]):
            return
        await asyncio.sleep(0.05)
    raise GatepostError("the ESA's tunnel did not come up within 10 s; see what its tunnel-client wrote", EX_TEMPFAIL)
