"""The machines of a lab, made as an operator makes them: `gatepost init`, then the lab's own configuration.

Also the facts that lab.json holds, and the known_hosts files of the administrator and the engineer.
"""

import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from core.disk import Disk, replace_file
from core.errors import GatepostError
from core.ssh import key as ssh_key
from ops.lab import process
from ops.lab.document import FILTERS, Trusted, document
from ops.lab.layout import BASTION_PORTS, CONSOLE, CPQ, DNS, OUTBOUND, SMTP, WEB, Layout

ROLES = ("bastion", "esa", "sma")
COMMAND_S = 60.0


def gatepost(*args: str, stdin: str = "") -> str:
    """Run the executable and give what it printed. Raises with its one line if it failed."""
    argv = process.gatepost_argv(*args)
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # Ctrl-C goes to every process of the terminal; this one was in the child
    if done.returncode:
        raise GatepostError(f"gatepost {args[0]}: {done.stderr.strip().removeprefix('gatepost: ')}", done.returncode)
    return done.stdout


def make_machines(layout: Layout) -> dict[str, Any]:
    """Make the three machines and give the facts of lab.json, without process ids."""
    admin = ssh_key.ensure_key(layout.dir / "admin_ed25519", "lab administrator")
    for role in ROLES:
        name = "upgrades.gatepost.test" if role == "bastion" else f"{role}.example.test"
        gatepost("init", "--role", role, "--dir", str(layout.dir / role), "--hostname", name)
    trusted = Trusted(
        bastion_host=public_key(layout, "bastion/keys/bastion_host_ed25519"),
        support_keys=_support_keys(layout),
    )
    for role in ROLES:
        config = layout.config(role)
        text = document(role, config.read_text(), layout, ssh_key.public_text(admin), trusted)
        replace_file(Disk(), config, text.encode())
    (layout.dir / "esa" / "filters.txt").write_text(FILTERS)
    facts = _facts(layout)
    _write_known_hosts(layout, facts)
    return facts


def _support_keys(layout: Layout) -> list[str]:
    """Give support's public keys as `[tunnel] support_keys` takes them: number and key."""
    found = sorted((layout.dir / "bastion" / "keyd").glob("support_*_x25519.pub"))
    return [f"{file.name.split('_')[1]} {file.read_text().strip()}" for file in found]


def public_key(layout: Layout, name: str) -> str:
    """Give the public line of a private key below the lab's folder."""
    return ssh_key.public_text(ssh_key.read_key(layout.dir / name))


def _facts(layout: Layout) -> dict[str, Any]:
    def machine(role: str, host: str) -> dict[str, str]:
        places = {"cpq": CPQ, "ssh": CONSOLE, "web": WEB}
        serial = tomllib.loads(layout.config(role).read_text())["appliance"]["serial"]
        facts = {"config": str(layout.config(role)), "serial": str(serial)}
        return facts | {name: f"{host}:{port}" for name, port in places.items()}

    engineer = layout.dir / "engineer"
    smtp = {"smtp": f"{layout.esa}:{SMTP}", "outbound": f"{layout.esa}:{OUTBOUND}"}
    return {
        "esa": machine("esa", layout.esa) | smtp,
        "sma": machine("sma", layout.sma),
        "bastion": {
            "config": str(layout.config("bastion")),
            "ports": [f"{layout.bastion}:{port}" for port in BASTION_PORTS],
            "engineers": f"{layout.engineers}:{CONSOLE}",
            "ssh": f"{layout.bastion_management}:{CONSOLE}",
        },
        "engineer": {
            "key": str(engineer / "engineer_ed25519"),
            "certificate": str(engineer / "engineer_ed25519-cert.pub"),
            "known_hosts": str(engineer / "known_hosts"),
        },
        "mailhost": {"smtp": f"{layout.mailhost}:{SMTP}", "maildir": str(layout.maildir)},
        "dns": f"{layout.dns}:{DNS}",
        "admin_key": str(layout.dir / "admin_ed25519"),
        "known_hosts": str(layout.dir / "known_hosts"),
        "pids": {},
    }


def _write_known_hosts(layout: Layout, facts: dict[str, Any]) -> None:
    hosts = {"esa": layout.esa, "sma": layout.sma, "bastion": layout.bastion_management}
    keys = {role: public_key(layout, f"{role}/keys/host_ed25519") for role in hosts}
    consoles = [ssh_key.known_hosts_line(host, keys[role], CONSOLE) for role, host in hosts.items()]
    bastion = public_key(layout, "bastion/keys/bastion_host_ed25519")
    through = [ssh_key.known_hosts_line(layout.engineers, bastion, CONSOLE)]
    through += [ssh_key.known_hosts_line(facts[role]["serial"].lower(), keys[role]) for role in ("esa", "sma")]
    for path, lines in ((facts["known_hosts"], consoles), (facts["engineer"]["known_hosts"], through)):
        Path(path).parent.mkdir(exist_ok=True)
        replace_file(Disk(), Path(path), "".join(f"{line}\n" for line in lines).encode(), mode=0o644)
