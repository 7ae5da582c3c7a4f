"""Remote access by real daemons on loopback: bastion, keyd and console of support; console and tunnel of an ESA and an
SMA behind it; made, started and told what to do with the commands that a person would type.

What is asked of them comes from stock programs and from the command line. Sources are addresses of 127.72.0.0/16, so
that the limits per source of an ordinary configuration can stay on: each attacker has an address of its own.
"""

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core import agreement, ssh
from daemons.gatepost import main
from tests.support.lab import GATEPOST, Ran, alive, ask_socket, gatepost, is_ready, ran, short_folder, whole_lines
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tunnel.audit import verify

NET = "127.72"
HOST = "upgrades.support.test"
CASE, ENGINEER, COLLEAGUE = "SR12345", "ana", "ben"
ROLES = "shell,sftp,forward"


def command(*words: str, stdin: str = "") -> Ran:
    """Run the executable's command in this process, which spares its start: only daemons have to be other processes."""
    out, err, was = io.StringIO(), io.StringIO(), sys.stdin
    with tempfile.TemporaryFile("w+") as given:
        given.write(stdin)
        given.seek(0)
        sys.stdin = given
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(words)
        finally:
            sys.stdin = was
    return Ran(status, out.getvalue(), err.getvalue())


class Machine:
    """One machine: its folder, its configuration, its processes."""

    def __init__(self, role: str, folder: Path, address: str) -> None:
        self.role, self.dir, self.address = role, folder, address
        self.config = folder / "gatepost.toml"
        made = command("init", "--role", role, "--dir", str(folder), "--hostname", f"{role}.example.test")
        assert made.status == 0, made
        self._made = self.config.read_text()
        self.serial = str(tomllib.loads(self._made)["appliance"]["serial"])
        self.name = self.serial.lower()
        self.console = free_port(address)
        self._sections: dict[str, dict[str, Any]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.set(console={"address": address, "port": self.console})

    def set(self, **sections: dict[str, Any]) -> None:
        """Write keys into the configuration, besides those that were set before; None takes a key out."""
        for section, keys in sections.items():
            self._sections[section] = self._sections.get(section, {}) | keys
        text = self._made
        for section, keys in self._sections.items():
            lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items() if value is not None)
            assert f"\n[{section}]\n" in text, section
            text = text.replace(f"\n[{section}]\n", f"\n[{section}]\n{lines}", 1)
        self.config.write_text(text)

    def start(self, *daemons: str, before: Sequence[str] = ()) -> None:
        """Start daemons, through another program where one is given, and wait until they are ready."""
        for daemon in daemons:
            with open(self.dir / "log" / f"{daemon}.out", "ab") as log:
                words = [*before, *GATEPOST, "run", daemon, "--config", str(self.config)]
                self.running[daemon] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for daemon in daemons:
            eventually(lambda daemon=daemon: self._ready(daemon), f"{daemon} of the {self.role} is ready")  # type: ignore[misc]

    def stop(self, *daemons: str) -> None:
        """End daemons in order."""
        for daemon in daemons:
            self.running[daemon].terminate()
        for daemon in daemons:
            self.running.pop(daemon).wait(60)

    def ask(self, daemon: str, verb: str, **args: Any) -> Any:
        """Ask a daemon over its control socket."""
        return ask_socket(self.dir / "run" / f"{daemon}.sock", verb, **args)

    def cli(self, *words: str, stdin: str = "") -> Ran:
        """Run a console command on the machine itself."""
        return gatepost("cli", "--config", str(self.config), *words, stdin=stdin)

    def lines(self, log: str, event: str = "", **facts: Any) -> list[dict[str, Any]]:
        """Give the lines of one of its audit logs, of one kind or with these facts."""
        found = map(json.loads, whole_lines(self.dir / log))
        wanted = {**({"event": event} if event else {}), **facts}
        return [line for line in found if wanted.items() <= line.items()]

    def _ready(self, daemon: str) -> bool:
        process = self.running[daemon]
        assert process.poll() is None, (self.dir / "log" / f"{daemon}.out").read_text()
        return is_ready(self.dir / "run" / f"{daemon}.sock")


class Remote:
    """All machines and people."""

    def __init__(self, folder: Path, bastion: dict[str, Any], tunnel: dict[str, Any]) -> None:
        self.dir = folder
        self.bastion = Machine("bastion", folder / "b", f"{NET}.0.1")
        self.ports = [free_port(f"{NET}.0.1") for _ in range(2)]
        self.engineers = free_port(f"{NET}.0.2")
        self.esa = Machine("esa", folder / "e", f"{NET}.0.3")
        self.sma = Machine("sma", folder / "s", f"{NET}.0.4")
        self._sources = itertools.count(1)
        self._dns = free_port()
        front = {"address": f"{NET}.0.1", "ports": self.ports, "engineer_address": f"{NET}.0.2"}
        front |= {
            "engineer_port": self.engineers,
            "names": [HOST],
            "recording_reserve": 0,
            "shared_ports": self.ports[1:],
        }
        front |= {"hop_port": self.sma.console}
        self.bastion.set(bastion=front | bastion, keyd={"derivations_per_hour": 1000})
        keys = self.bastion.dir / "keyd"
        for one in (self.esa, self.sma):
            section = {
                "host": HOST,
                "port": self.ports[0],
                "ports": self.ports[:1],
                "bastion_cas": [(keys / "host_ca_ed25519.pub").read_text().strip()],
                "support_keys": [f"1 {(keys / 'support_1_x25519.pub').read_text().strip()}"],
                "recording_reserve": 0,
                "hop_networks": [f"{NET}.0.0/24"],
                "hop_port": self.sma.console,
                "retry_first_s": 0.1,
                "retry_max_s": 0.5,
            }
            one.set(tunnel=section | tunnel, dns={"servers": [f"127.0.0.1:{self._dns}"], "timeout_s": 1})
        self.sma.set(tunnel={"hop_sources": ["127.0.0.0/8"]})
        self.dns: subprocess.Popen[bytes] | None = None

    # -- the support organisation ---------------------------------------------------------------------------------

    def desk(self, *words: str, stdin: str = "", status: int = 0) -> Ran:
        """Run a command of the support organisation."""
        done = command("bastion", *words, "--config", str(self.bastion.config), stdin=stdin)
        assert done.status == status, done
        return done

    def employ(self, name: str, roles: str = ROLES) -> Path:
        """Enter an engineer with a key; gives the key."""
        key = self.dir / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True)
        self.desk("engineer", "add", name, "--key", f"{key}.pub", "--roles", roles)
        return key

    def certify(self, engineer: str = ENGINEER, case: str = CASE) -> Path:
        """Have certificates signed beside the engineer's key; gives the ssh configuration with all appliances."""
        words = ("ca", "sign", "--key", f"{self.dir / engineer}.pub", "--engineer", engineer, "--case", case)
        document = self.desk(*words, "--minutes", "60", "--forwarding", "--json").document
        return Path(document["ssh_config"])

    def enroll(self, one: Machine) -> None:
        """Make an appliance known."""
        request = self.dir / f"{one.role}.json"
        made = command("bastion", "request", "--config", str(one.config), "--out", str(request))
        assert made.status == 0, made
        self.desk("enroll", one.serial, "--request", str(request))

    def take_seed(self, serial: str, seed: str, *, case: str = CASE, status: int = 0) -> Ran:
        """Take the seed string that an administrator has told."""
        return self.desk("case", "seed", case, serial, stdin=f"{seed}\n", status=status)

    def enable(self, one: Machine, *words: str) -> dict[str, Any]:
        """Enable access as an administrator does; gives the document with the seed string."""
        document: dict[str, Any] = one.cli("techsupport", *words, "--json").document
        return document

    def online(self, name: str = "") -> bool:
        """Tell whether an appliance is there, proved to its far end."""
        rows = self.bastion.ask("bastion", "tunnels")["tunnels"]
        return any(row["serial"] == (name or self.esa.name) and row["online"] for row in rows)

    def since(self) -> float:
        """Give when the ESA's tunnel was opened, 0 without one."""
        rows = self.bastion.ask("bastion", "tunnels")["tunnels"]
        return next((float(row["since"]) for row in rows if row["serial"] == self.esa.name), 0.0)

    def audit(self, event: str = "", **facts: Any) -> list[dict[str, Any]]:
        """Give lines of the bastion's audit log."""
        return self.bastion.lines("log/audit.jsonl", event, **facts)

    def counted(self, name: str) -> int:
        """Give a figure of the bastion."""
        return int(self.bastion.ask("bastion", "status")["counters"].get(name, {"lifetime": 0})["lifetime"])

    def source(self) -> str:
        """Give an address that nobody has come from."""
        number = next(self._sources)
        return f"{NET}.{1 + number // 250}.{1 + number % 250}"

    # -- the engineer ---------------------------------------------------------------------------------------------

    @property
    def pinned(self) -> str:
        """The bastion's host key."""
        return ssh.public_text(ssh.read_key(self.bastion.dir / "keys" / "bastion_host_ed25519"))

    def options(self, engineer: str = ENGINEER, **changes: str) -> list[str]:
        """Give the options of OpenSSH's programs that use our files only."""
        known = self.dir / "pinned"
        known.write_text(
            ssh.known_hosts_line(f"{NET}.0.2", self.pinned, self.engineers)
            + "\n"
            + "".join(ssh.known_hosts_line(f"{NET}.0.1", self.pinned, port) + "\n" for port in self.ports)
        )
        fixed = {
            "IdentityFile": str(self.dir / engineer),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": "10",
        }
        return [
            "-F",
            "none",
            *(word for name, value in (fixed | changes).items() for word in ("-o", f"{name}={value}")),
        ]

    def ssh(self, *words: str, name: str = "", flags: Sequence[str] = (), source: str = "", stdin: str = "") -> Ran:
        """Run a command on an appliance through the bastion with stock ssh."""
        return ran(self.ssh_words(*words, name=name, flags=flags, source=source), stdin=stdin)

    def ssh_words(self, *words: str, name: str = "", flags: Sequence[str] = (), source: str = "") -> list[str]:
        """Give the command line of that."""
        bound = ["-b", source] if source else []
        place = f"{name or self.esa.name}@{NET}.0.2"
        return ["ssh", *self.options(), *bound, "-p", str(self.engineers), *flags, place, *words]

    # -- names and life -------------------------------------------------------------------------------------------

    def start_dns(self) -> None:
        """Start the name server."""
        zone = self.dir / "zone"
        zone.write_text(f"{HOST}. 5 A {NET}.0.1\n")
        words = [sys.executable, "-m", "ops.lab.nameserver", "127.0.0.1", str(self._dns), str(zone)]
        self.dns = subprocess.Popen(words, stdin=subprocess.DEVNULL)

    def stop_dns(self) -> str:
        """End the name server; gives where it was."""
        assert self.dns is not None
        self.dns.terminate()
        self.dns.wait(10)
        self.dns = None
        return f"127.0.0.1:{self._dns}"

    def start(self) -> None:
        """Start everything, enrol the ESA and the SMA, let support into both, and open the case."""
        self.start_dns()
        self.bastion.start("keyd", "bastion", "console")
        self.esa.start("console", "tunnel-client")
        self.sma.start("console", "tunnel-client")
        for one in (self.esa, self.sma):
            self.enroll(one)
        for name in (ENGINEER, COLLEAGUE):
            self.employ(name)
        self.desk("case", "open", CASE, "--serial", self.esa.serial, "--engineer", ENGINEER)
        behind = ("--via", self.esa.serial, "--address", self.sma.address)
        self.desk("case", "open", CASE, "--serial", self.sma.serial, *behind)
        self.desk("case", "approve", CASE, "--by", COLLEAGUE)
        opened = self.enable(self.esa, "tunnel", "--hops", self.sma.address)
        self.seed = opened["seed"]
        eventually(self.online, "the tunnel is open")
        self.take_seed(self.esa.serial, self.seed)
        self.take_seed(self.sma.serial, self.enable(self.sma, "sshaccess")["seed"])
        self.config = self.certify()

    def end(self) -> None:
        """End everything."""
        for one in (self.esa, self.sma, self.bastion):
            for process in one.running.values():
                process.terminate()
        for one in (self.esa, self.sma, self.bastion):
            for name, process in one.running.items():
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise AssertionError(f"{name} of the {one.role} did not end when told") from None
        if self.dns is not None:
            self.stop_dns()


_LETTERS = [bytes([letter]) for letter in b"QWERTYUIOZXVN"]
"""None of them is part of what a console sends to move its cursor."""


class Witness:
    """An engineer at work on a terminal all the while: what is typed has to come back."""

    def __init__(self, remote: Remote) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(remote.ssh_words(flags=["-tt"]), bufsize=0, **pipes)
        self._count = itertools.count(1)
        self._wait(b"(SERVICE)>")

    def echoes(self) -> None:
        """Type a letter and wait until it is shown."""
        assert self.process.stdin is not None
        letter = _LETTERS[next(self._count) % len(_LETTERS)]
        self.process.stdin.write(b"\x7f" + letter)  # the one before is taken away: the line stays short
        self._wait(letter, 30)

    def end(self) -> None:
        """Leave."""
        self.process.kill()
        self.process.communicate()

    def _wait(self, text: bytes, within_s: float = 60) -> None:
        assert self.process.stdout is not None
        out, shown, deadline = self.process.stdout.fileno(), b"", time.monotonic() + within_s
        os.set_blocking(out, False)
        while text not in shown:
            assert time.monotonic() < deadline, f"{text!r} did not come: {shown!r}"
            try:
                got = os.read(out, 65536)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            assert got, f"the session ended before {text!r}: {shown!r}"
            shown += got


@contextlib.contextmanager
def remote(*, bastion: dict[str, Any] | None = None, tunnel: dict[str, Any] | None = None) -> Iterator[Remote]:
    """Make and run all of it; at the end every audit log is a whole chain and no daemon has complained."""
    with short_folder() as folder:
        made = Remote(folder, bastion or {}, tunnel or {})
        try:
            made.start()
            yield made
            for one in (made.esa, made.sma, made.bastion):
                for daemon, process in one.running.items():
                    assert alive(process.pid), (
                        one.role,
                        daemon,
                        (one.dir / "log" / f"{daemon}.out").read_text()[-2000:],
                    )
        finally:
            made.end()
        assert verify(made.bastion.dir / "log" / "audit.jsonl") > 0
        verify(made.esa.dir / "log" / "service.jsonl")
        for one in (made.esa, made.sma, made.bastion):
            for log in (one.dir / "log").glob("*.out"):
                said = log.read_text()
                assert "Traceback" not in said, (log.name, said)
                assert "incident" not in said, (log.name, said)


def new_exchange() -> tuple[bytes, str]:
    """Make the exchange key of an appliance that is played by a stock program: private, and public as text."""
    private = agreement.make_private()
    return private, agreement.encode(agreement.public_of(private))
