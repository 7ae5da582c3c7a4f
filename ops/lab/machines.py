"""The machines of a lab, made as an operator makes them: `gatepost init`, then the lab's own configuration.

Also the facts that lab.json holds, and the known_hosts files of the administrator and the engineer.
"""

import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from core.chain import tlsa_data
from core.disk import Disk, replace_file
from core.errors import GatepostError
from core.ssh import key as ssh_key
from ops.lab import process
from ops.lab.document import FILTERS, Trusted, document, zone
from ops.lab.layout import CONTAINERS, Layout

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


def make_machines(layout: Layout, database: str = "") -> dict[str, Any]:
    """Make the machines and the zone and give the facts of lab.json, without process ids."""
    admin = ssh_key.ensure_key(layout.dir / "admin_ed25519", "lab administrator")
    for name, role in layout.machines.items():
        hostname = "upgrades.gatepost.test" if role == "bastion" else f"{name}.example.test"
        gatepost("init", "--role", role, "--dir", str(layout.dir / name), "--hostname", hostname)
    trusted = Trusted(
        bastion_host=public_key(layout, "bastion/keys/bastion_host_ed25519"),
        support_keys=_support_keys(layout),
    )
    for name in layout.machines:
        config = layout.config(name)
        text = document(name, config.read_text(), layout, ssh_key.public_text(admin), trusted, database=database)
        replace_file(Disk(), config, text.encode())
    for name in layout.esas:
        (layout.dir / name / "filters.txt").write_text(FILTERS)
    (layout.dir / "zone.txt").write_text(zone(layout, _tlsa(layout)))
    facts = _facts(layout)
    _write_known_hosts(layout, facts)
    return facts


def _tlsa(layout: Layout) -> dict[str, str]:
    """Give the TLSA data of every mail exchanger that is a gateway of the lab."""
    ours = [name for name in layout.exchangers if name in layout.esas]
    return {name: tlsa_data((layout.dir / name / "keys" / "tls.crt").read_bytes()) for name in ours}


def _support_keys(layout: Layout) -> list[str]:
    """Give support's public keys as `[tunnel] support_keys` takes them: number and key."""
    found = sorted((layout.dir / "bastion" / "keyd").glob("support_*_x25519.pub"))
    return [f"{file.name.split('_')[1]} {file.read_text().strip()}" for file in found]


def public_key(layout: Layout, name: str) -> str:
    """Give the public line of a private key below the lab's folder."""
    return ssh_key.public_text(ssh_key.read_key(layout.dir / name))


def _facts(layout: Layout) -> dict[str, Any]:
    ports = layout.ports

    def machine(name: str) -> dict[str, str]:
        serial = tomllib.loads(layout.config(name).read_text())["appliance"]["serial"]
        facts = {"config": str(layout.config(name)), "serial": str(serial)}
        places = {"cpq": ports.cpq, "ssh": ports.console, "web": ports.web}
        facts |= {place: f"{layout.console(name)}:{port}" for place, port in places.items()}
        if name in layout.esas:
            facts |= {"smtp": f"{layout.inbound(name)}:{ports.smtp}"}
            facts |= {"outbound": f"{layout.esas[name]}:{ports.outbound}"}
        return facts

    engineer = layout.dir / "engineer"
    return {
        **({"place": layout.net} if layout.net == CONTAINERS else {}),
        **{name: machine(name) for name in (*layout.esas, "sma")},
        "bastion": {
            "config": str(layout.config("bastion")),
            "ports": [f"{layout.bastion}:{port}" for port in ports.bastion],
            "engineers": f"{layout.engineers}:{ports.console}",
            "ssh": f"{layout.bastion_management}:{ports.console}",
        },
        "engineer": {
            "key": str(engineer / "engineer_ed25519"),
            "certificate": str(engineer / "engineer_ed25519-cert.pub"),
            "known_hosts": str(engineer / "known_hosts"),
        },
        "mailhost": {"smtp": f"{layout.mailhost}:{ports.smtp}", "maildir": str(layout.maildir)},
        "dns": f"{layout.dns}:{ports.dns}",
        "admin_key": str(layout.dir / "admin_ed25519"),
        "known_hosts": str(layout.dir / "known_hosts"),
        "pids": {},
    }


def _write_known_hosts(layout: Layout, facts: dict[str, Any]) -> None:
    port, appliances = layout.ports.console, (*layout.esas, "sma")
    keys = {name: public_key(layout, f"{name}/keys/host_ed25519") for name in layout.machines}
    consoles = [ssh_key.known_hosts_line(layout.console(name), key, port) for name, key in keys.items()]
    bastion = public_key(layout, "bastion/keys/bastion_host_ed25519")
    through = [ssh_key.known_hosts_line(layout.engineers, bastion, port)]
    through += [ssh_key.known_hosts_line(facts[name]["serial"].lower(), keys[name]) for name in appliances]
    for path, lines in ((facts["known_hosts"], consoles), (facts["engineer"]["known_hosts"], through)):
        Path(path).parent.mkdir(exist_ok=True)
        replace_file(Disk(), Path(path), "".join(f"{line}\n" for line in lines).encode(), mode=0o644)
