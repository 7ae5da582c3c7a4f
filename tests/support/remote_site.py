"""Remote access between machines that `gatepost init` made, in the network of `namespaces.py`, set up with commands.

The bastion listens on its six ports and, on a second address, for engineers; Knot knows its names (SRV and A); the ESA
dials out through the firewall; the SMA has no route out. What is asserted comes from the commands a person would type
(`gatepost cli`, `gatepost bastion`, stock `ssh`); only waiting goes straight to the control sockets.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from core import ssh
from tests.support.lab import GATEPOST, Ran, ask_socket, gatepost, is_ready, ran, short_folder, ssh_argv, whole_lines
from tests.support.namespaces import Host, Network, network
from tests.support.waiting import eventually

DOMAIN = "support.test"
ENGINEERS = "198.51.100.11"
SIX_PORTS = (25, 443, 22, 80, 53, 4766)
CASE, ENGINEER = "SR12345", "ana"


class Machine:
    """A machine: its folder, where it stands, and what it is told."""

    def __init__(self, role: str, folder: Path, host: Host, **sections: dict[str, Any]) -> None:
        self.dir, self.host, self.name = folder, host, role
        self.config = folder / "gatepost.toml"
        made = gatepost("init", "--role", role, "--dir", str(folder), "--hostname", f"{role}.example.test")
        assert made.status == 0, made
        self._made = self.config.read_text()
        self._sections: dict[str, dict[str, Any]] = {}
        self.serial = str(tomllib.loads(self._made)["appliance"]["serial"])
        self.pids: dict[str, int] = {}
        self.set(**sections)

    def set(self, **sections: dict[str, Any]) -> None:
        """Write keys into the configuration, besides those that were set before; None takes a key out."""
        text = self._made
        for section, keys in sections.items():
            self._sections[section] = self._sections.get(section, {}) | keys
        for section, keys in self._sections.items():
            lines = [f"{key} = {json.dumps(value)}\n" for key, value in keys.items() if value is not None]
            assert f"\n[{section}]\n" in text
            text = text.replace(f"\n[{section}]\n", f"\n[{section}]\n{''.join(lines)}", 1)
        self.config.write_text(text)

    def run(self, *daemons: str, timeout_s: float = 30) -> None:
        """Start daemons and wait until they are ready."""
        for daemon in daemons:
            log = self.dir / "log" / f"{daemon}.out"
            self.pids[daemon] = self.host.start(log, *GATEPOST, "run", daemon, "--config", self.config)
        for daemon in daemons:
            control = self.dir / "run" / f"{daemon}.sock"
            eventually(partial(is_ready, control), f"{self.name}'s {daemon} is ready", within_s=timeout_s)

    def end(self, daemon: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon and wait until it is gone."""
        pid = self.pids.pop(daemon)
        child = next(one for one in self.host.children if one.pid == pid)
        os.kill(pid, how)
        child.wait(60)
        self.host.children.remove(child)

    def ask(self, daemon: str, verb: str, **args: Any) -> Any:
        """Ask a daemon over its control socket."""
        return ask_socket(self.dir / "run" / f"{daemon}.sock", verb, **args)

    def cli(self, *words: str, stdin: str = "") -> Ran:
        """Run a console command on the machine itself."""
        return gatepost("cli", "--config", str(self.config), *words, stdin=stdin)

    def audit(self, event: str) -> list[dict[str, Any]]:
        """Give the audit lines of one kind."""
        lines = whole_lines(self.dir / "log" / "audit.jsonl")
        return [line for line in map(json.loads, lines) if line["event"] == event]


class Appliance(Machine):
    """An ESA or SMA."""

    def status(self) -> dict[str, Any]:
        """Give the document of `techsupport status`."""
        document: dict[str, Any] = self.cli("techsupport", "status", "--json").document
        return document

    def probe(self) -> dict[str, Any]:
        """Give the document of `techsupport probe`."""
        document: dict[str, Any] = self.cli("techsupport", "probe", "--json").document
        return document

    @property
    def tunnel(self) -> str:
        """The state of the tunnel, straight from the daemon."""
        return str(self.ask("tunnel-client", "techsupport_status")["tunnel"])

    @property
    def connected_at(self) -> float:
        """When the tunnel was opened; 0 while it is not open."""
        return float(self.ask("tunnel-client", "techsupport_status")["connected_at"] or 0)

    def wait(self, state: str, within_s: float = 30) -> None:
        """Wait for a state of the tunnel."""
        eventually(lambda: self.tunnel == state, lambda: f"the tunnel is {state}: {self.tunnel}", within_s=within_s)

    def enable(self, *words: str) -> dict[str, Any]:
        """Enable access as its administrator does, from scratch; gives the document with the seed string."""
        self.ask("tunnel-client", "techsupport_disable")
        document: dict[str, Any] = self.cli("techsupport", *words, "--json").document
        return document

    def recordings(self) -> list[Path]:
        """Give its own recordings, oldest first."""
        files = (self.dir / "recordings").rglob("*.cast")
        return sorted(files, key=lambda file: file.stat().st_mtime)

    @contextlib.contextmanager
    def configured(self, **keys: Any) -> Iterator[None]:
        """Run the tunnel client with other keys of [tunnel] for a while."""
        self.end("tunnel-client")
        self.set(tunnel=keys)
        try:
            self.run("tunnel-client")
            yield
        finally:
            if "tunnel-client" in self.pids:
                self.end("tunnel-client")
            self.set(tunnel=dict.fromkeys(keys))
            self.run("tunnel-client")


class Site:
    """All machines, and what each party does."""

    def __init__(self, net: Network, folder: Path, timing: dict[str, float]) -> None:
        self.net, self.dir = net, folder
        net["bastion"].add_address(f"{ENGINEERS}/24")
        self.bastion = self._make_bastion(timing)
        self.esa = self._make_appliance(Appliance, "esa", timing)
        self.sma = self._make_appliance(Appliance, "sma", timing)
        self.sma.set(tunnel={"hop_sources": [net["esa"].address]})
        self._taken = ""

    def start(self) -> None:
        """Start everything and enrol the appliances."""
        self.start_dns()
        self.bastion.run("keyd")
        self.bastion.run("bastion")
        self.esa.run("console", "tunnel-client")
        self.sma.run("console", "tunnel-client")
        for one in (self.esa, self.sma):
            request = self.dir / f"{one.name}.json"
            made = gatepost("bastion", "request", "--config", str(one.config), "--out", str(request))
            assert made.status == 0, made
            self.desk("enroll", one.serial, "--request", str(request))
        self._staff()

    # -- the support organisation --------------------------------------------------------------------------------

    def desk(self, *words: str, stdin: str = "") -> Ran:
        """Run a command of the support organisation that must succeed."""
        done = gatepost("bastion", *words, "--config", str(self.bastion.config), stdin=stdin)
        assert done.status == 0, done
        return done

    def take_seed(self, one: Appliance, seed: str) -> None:
        """Take the seed string that the administrator has told."""
        self.desk("case", "seed", CASE, one.serial, stdin=f"{seed}\n")

    def let_in(self) -> None:
        """Have the ESA let support in, with the case approved and certificates signed, unless that is so."""
        status = self.esa.ask("tunnel-client", "techsupport_status")
        if status["mode"] != "tunnel" or status["seed_fingerprint"] != self._taken:
            enabled = self.esa.enable("tunnel")
            self.take_seed(self.esa, enabled["seed"])
            self.desk("case", "approve", CASE, "--by", "ben")
            self.sign()
            self._taken = enabled["seed_fingerprint"]
        self.esa.wait("open")
        eventually(self.online)

    def sign(self) -> Path:
        """Have the engineer's certificates signed; gives the ssh configuration with all appliances."""
        words = ("ca", "sign", "--key", str(self.dir / "ana.pub"), "--engineer", ENGINEER, "--case", CASE)
        document = self.desk(*words, "--minutes", "60", "--forwarding", "--json").document
        return Path(document["ssh_config"])

    def tunnels(self) -> list[dict[str, Any]]:
        """Give the rows of the command `tunnels` on the bastion's console."""
        rows: list[dict[str, Any]] = self.bastion.cli("tunnels", "--json").document["tunnels"]
        return rows

    def online(self, *, port: int | None = None) -> bool:
        """Tell whether the bastion shows the ESA, and nobody else, as online (on a port)."""
        rows = self.bastion.ask("bastion", "tunnels")["tunnels"]
        seen = [(row["serial"], row["online"]) for row in rows] == [(self.esa.serial.lower(), True)]
        return seen and port in (None, rows[0]["port"])

    def recordings(self) -> list[Path]:
        """Give the bastion's recordings, oldest first."""
        files = (self.bastion.dir / "recordings").rglob("*.cast")
        return sorted(files, key=lambda file: file.stat().st_mtime)

    # -- the engineer --------------------------------------------------------------------------------------------

    def ssh_words(self, one: Appliance, *words: str, flags: tuple[str, ...] = ()) -> list[str]:
        """Give the command line of the engineer's stock ssh to an appliance through the bastion."""
        argv = ssh_argv(str(self.dir / "ana"), str(self.dir / "known_hosts"), "22")
        argv += ["-o", f"CertificateFile={self.dir / 'ana-cert.pub'}", *flags, f"{one.serial.lower()}@{ENGINEERS}"]
        return self.net["engineer"].words(*argv, *words)

    def ssh(self, one: Appliance, *words: str) -> Ran:
        """Run a command on an appliance, as the engineer."""
        return ran(self.ssh_words(one, *words))

    @contextlib.contextmanager
    def inside(self, one: Appliance, *words: str) -> Iterator["Terminal"]:
        """Have a session with a terminal open."""
        argv = self.ssh_words(one, *words, flags=("-tt",))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(argv, bufsize=0, **pipes) as process:
            try:
                yield Terminal(process)
            finally:
                process.kill()

    # -- names ---------------------------------------------------------------------------------------------------

    def start_dns(self) -> None:
        """Start the name server."""
        name, folder = self.net["name"], self.dir / "dns"
        folder.mkdir(exist_ok=True)
        bastion = self.net["bastion"].address
        zone = [f"@ 1 SOA ns.{DOMAIN}. root.{DOMAIN}. 1 60 60 60 1", "@ 1 NS ns", f"ns 1 A {name.address}"]
        zone += [f"front 1 A {bastion}", f"dual 1 A {bastion}", "dual 1 AAAA fd99::10", f"upgrades 1 A {bastion}"]
        for series in ("c", "m", "x", "s"):
            zone.append(f"_gatepost-tunnel._tcp.{series}.tunnels 1 SRV 10 10 25 front")
            zone.append(f"{series}.tunnels 1 A {bastion}")
        (folder / f"{DOMAIN}.zone").write_text("".join(f"{line}\n" for line in zone))
        (folder / "knot.conf").write_text(
            f"server:\n    listen: {name.address}@53\n    rundir: {folder}\n"
            f"database:\n    storage: {folder}\n"
            f"template:\n  - id: default\n    storage: {folder}\n    file: %s.zone\n"
            f"zone:\n  - domain: {DOMAIN}\n"
        )
        name.start(self.dir / "dns.out", "knotd", "-c", folder / "knot.conf")
        eventually((folder / "knot.pid").exists, "the name server runs")

    def stop_dns(self) -> None:
        """End the name server."""
        self.net["name"].end()
        (self.dir / "dns" / "knot.pid").unlink(missing_ok=True)

    # -- making --------------------------------------------------------------------------------------------------

    def _make_bastion(self, timing: dict[str, float]) -> Machine:
        host = self.net["bastion"]
        section = {
            "address": host.address,
            "engineer_address": ENGINEERS,
            "names": [f"{name}.{DOMAIN}" for name in ("c.tunnels", "m.tunnels", "upgrades", "dual")],
            "recording_reserve": 0,
            "keepalive_s": 4 * timing["keepalive_s"],
            "liveness_s": timing["liveness_s"],
        }
        return Machine("bastion", self.dir / "bastion", host, bastion=section, keyd={"derivations_per_hour": 1000})

    def _make_appliance(self, kind: type[Appliance], role: str, timing: dict[str, float]) -> Appliance:
        host, keys = self.net[role], self.bastion.dir / "keyd"
        section = {
            "domain": DOMAIN,
            "bastion_cas": [(keys / "host_ca_ed25519.pub").read_text().strip()],
            "support_keys": [f"1 {(keys / 'support_1_x25519.pub').read_text().strip()}"],
            "recording_reserve": 0,
            "keepalive_s": timing["keepalive_s"],
            "connect_timeout_s": 4,
            "login_timeout_s": 10,
            "retry_first_s": 0.1,
            "retry_max_s": 1,
            "healthy_s": 1,
        }
        dns = {"servers": [f"{self.net['name'].address}:53"], "timeout_s": 1}
        console = {"address": host.address}
        return kind(role, self.dir / role, host, tunnel=section, dns=dns, console=console)

    def _staff(self) -> None:
        """Enter an engineer and a colleague, and make the engineer's key and what is pinned."""
        for name in (ENGINEER, "ben"):
            ssh.write_key(self.dir / name, ssh.make_key())
            public = self.dir / f"{name}.pub"
            public.write_text(ssh.public_text(ssh.read_key(self.dir / name)) + "\n")
            self.desk("engineer", "add", name, "--key", str(public), "--roles", "shell,sftp,forward")
        shown = ssh.public_text(ssh.read_key(self.bastion.dir / "keys" / "bastion_host_ed25519"))
        (self.dir / "known_hosts").write_text(ssh.known_hosts_line(ENGINEERS, shown) + "\n")


class Terminal:
    """An engineer's session on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.shown = b""

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\r")

    def wait(self, text: str, within_s: float = 30) -> None:
        """Wait until a text is on the screen; what comes after it is for the next wait."""
        assert self.process.stdout is not None
        out, deadline = self.process.stdout.fileno(), time.monotonic() + within_s
        os.set_blocking(out, False)
        while text.encode() not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.shown!r}"
            try:
                got = os.read(out, 65536)
            except BlockingIOError:
                time.sleep(0.05)
                continue
            assert got, f"the session ended before {text!r}: {self.shown!r}"
            self.shown += got
        self.shown = self.shown.partition(text.encode())[2]


@contextlib.contextmanager
def site(timing: dict[str, float]) -> Iterator[Site]:
    """Make and run all of it, and take it down whatever happens."""
    with short_folder() as folder, network() as net:
        made = Site(net, folder, timing)
        made.start()
        yield made
