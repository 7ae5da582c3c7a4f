"""`gatepost systemd install` and `remove`: the units of this machine, users, folders and links; called by root.

Both can be done again at any time: `install` after `[console]`, `[web]`, `[cpq]` or `[bastion]` got another address or
port, `[runtime] gateways` another number, and after an upgrade of a virtual environment. Nothing is started or enabled;
what to do next is printed. docs/systemd.md is for operators.
"""

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from core.errors import EX_CANTCREAT, EX_CONFIG, EX_NOPERM, EX_OK, EX_USAGE, GatepostError
from core.occupant import occupant
from core.port import taken
from daemons.config import DOCUMENTS, Document
from daemons.machine import Machine
from daemons.port import opened_by_systemd
from daemons.systemd import tailoring, units
from daemons.systemd.executable import executable_for
from daemons.systemd.folder import CONFIG, FOLDER, prepare, undo

SYSTEM_ROOT = Path("/")


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the commands to the executable."""
    verbs = sub.add_subparsers(dest="verb", required=True, metavar="VERB")
    text = "write the units for this machine, make users and links; nothing is started"
    install = verbs.add_parser("install", help=text, description=text)
    install.set_defaults(action=_install)
    install.add_argument("--role", choices=sorted(DOCUMENTS), help="the machine's role (default: as it is configured)")
    install.add_argument("--executable", type=Path, metavar="FILE", help="what units start (default: this gatepost)")
    text = "stop the daemons and take away what install wrote; the machine's folder, logs and users stay"
    remove = verbs.add_parser("remove", help=text, description=text)
    remove.set_defaults(action=_remove)
    for verb in (install, remove):
        verb.add_argument("--root", type=Path, default=SYSTEM_ROOT, metavar="DIR", help="another system's root folder")


def _install(args: argparse.Namespace) -> int:
    _check_root()
    root: Path = args.root.absolute()
    executable = executable_for(root, args.executable)
    document = _document(root, args.role)
    role = document.appliance.role
    tailored = tailoring.drop_ins(document)
    stale = {name: "" for name in tailoring.written_before(root) if name not in tailored}
    try:
        removed = units.remove(root, stale)
        written = units.write(root, units.unit_files(executable) | tailored)
    except OSError as error:
        raise GatepostError(f"{error.filename}: {error.strerror}; run this as root", EX_CANTCREAT) from error
    prepare(root)
    os.sync()  # all of it, links and owners too: a machine that loses power now comes back with its ports
    _reload(root)
    changed = len(written) + len(removed)
    print(f"units of a machine of role {role}: {f'{changed} files changed' if changed else 'nothing changed'}")
    for line in advice(root, document):
        print(line)
    return EX_OK


def _remove(args: argparse.Namespace) -> int:
    _check_root()
    root: Path = args.root.absolute()
    if _runs(root):
        _systemctl("stop", "gatepost-*.socket", "gatepost-*.target", "gatepost-*.service")  # waits for each of them
        for target in (units.SYSTEM / f"gatepost-{role}.target" for role in DOCUMENTS):
            if (root / target).exists():
                _systemctl("disable", target.name)
    names = [*units.unit_files(Path(units.STANDARD)), *tailoring.written_before(root)]
    gone = units.remove(root, dict.fromkeys(names, ""))
    if not (root / "usr/lib/tmpfiles.d/gatepost.conf").exists():
        undo(root)
    _reload(root)
    if _runs(root):
        _systemctl("reset-failed", "gatepost-*")  # a unit that is no longer there is listed for that alone
    print(f"{len(gone)} files removed; /{FOLDER} with mail, keys and configuration, /var/log/gatepost and users stay")
    return EX_OK


def _check_root() -> None:
    if os.geteuid() != 0:
        raise GatepostError("units, users and ownership are for root to change; run this as root", EX_NOPERM)


def _document(root: Path, role: str | None) -> Document:
    config = root / CONFIG
    if not config.exists():
        init = (
            f"gatepost init --role {role or 'esa|sma|bastion'} --dir {root / FOLDER} --hostname NAME --admin-key FILE"
        )
        raise GatepostError(f"{config}: no machine is here yet; make it, then do this again: {init}", EX_CONFIG)
    machine = Machine.open(config)
    if role not in (None, machine.role):
        raise GatepostError(f"{config} is of role {machine.role}, not {role}; a machine keeps its role", EX_USAGE)
    return machine.document


def advice(root: Path, document: Document) -> Iterator[str]:
    """Say what to do next, what would keep a daemon from its port, and what leaves processors idle."""
    rule, wanted = (os.cpu_count() or 1) // 2, document.runtime.gateways
    if document.appliance.role == "esa" and "gateways" not in document.runtime.model_fields_set and rule > 1:
        yield f"one gateway for {os.cpu_count()} processors; [runtime] gateways = {rule} in /{CONFIG} has them all used"
    if surplus := sorted(_gateways(root) - {f"gatepost-gateway@{one}.service" for one in range(wanted)}):
        text = f"more gateways run than [runtime] gateways = {wanted}, and a restart stops none of them"
        yield f"{text}: systemctl stop {' '.join(surplus)}"
    target = f"gatepost-{document.appliance.role}.target"
    for port in opened_by_systemd(document) if _runs(root) else ():
        if not _active(port.unit) and taken(port.address, port.port, port.unit):
            other = "2222" if port.port == 22 else "another"
            who = occupant(port.address, port.port)
            yield (
                f"{port.unit}: {port.address} port {port.port} is in use{f' by {who}' if who else ''}: stop that, or"
                f" set [{port.section}] {port.port_key} = {other} in /{CONFIG} and run this again"
            )
    if not _runs(root):
        yield f"next, on the machine itself: systemctl enable --now {target}"
    elif _active(target):
        yield f"next, for what changed to count: systemctl restart {target}"
    else:
        yield f"next: gatepost check, then: systemctl enable --now {target}"


def _runs(root: Path) -> bool:
    """Tell whether the system below `root` is the one that runs, with systemd."""
    return root == SYSTEM_ROOT and Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def _reload(root: Path) -> None:
    if _runs(root):
        _systemctl("daemon-reload")


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"systemctl {' '.join(words)}: {done.stderr.strip() or f'status {done.returncode}'}")


def _gateways(root: Path) -> set[str]:
    """Name the gateways that run now."""
    if not _runs(root):
        return set()
    words = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "gatepost-gateway@*.service"]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return {line.split()[0] for line in listed.splitlines() if line.strip()}


def _active(unit: str) -> bool:
    return subprocess.run(["systemctl", "--quiet", "is-active", unit], check=False).returncode == 0
