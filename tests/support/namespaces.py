"""A customer's network, a firewall and the internet in network namespaces: made by the test, removed by it.

    esa 10.77.1.10 ─┐                                    ┌─ bastion  198.51.100.10
                    ├─ 10.77.1.1 firewall 198.51.100.1 ──┼─ name     198.51.100.53
    sma 10.77.1.11 ─┘        (source NAT)                └─ engineer 198.51.100.20

The firewall lets the customer out and nobody in; the SMA has no route out. `Firewall` closes ports, redirects them
into a program of the test that runs in its namespace, resets what is open, cuts the link and takes a new address.
Needs root, `ip` and `nft`; `permitted` tells whether namespaces may be made here.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CUSTOMER = {"esa": "10.77.1.10", "sma": "10.77.1.11"}
INTERNET = {"bastion": "198.51.100.10", "name": "198.51.100.53", "engineer": "198.51.100.20"}
INSIDE = "10.77.1.1"
"""The firewall, as the customer sees it."""
_OUTSIDE = "198.51.100.1"
_INSIDE_SIX = "fd77:1::1"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Host:
    """One namespace with one address."""

    name: str
    address: str
    namespace: str
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def words(self, *command: str | Path) -> list[str]:
        """Give the command line that runs a command here."""
        return ["ip", "netns", "exec", self.namespace, *(str(word) for word in command)]

    def add_address(self, address: str) -> None:
        """Give it one more address."""
        _ip("-n", self.namespace, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, 60 s at most."""
        return subprocess.run(self.words(*command), check=check, capture_output=True, timeout=60, **options)

    def start(self, log: Path, *command: str | Path, environment: dict[str, str] | None = None) -> int:
        """Start a program that the end of the network ends; its output goes to log. Gives the process id."""
        with log.open("ab") as out:
            child = subprocess.Popen(
                self.words(*command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(environment or {})},
            )
        self.children.append(child)
        return child.pid

    def end(self) -> None:
        """End what was started here."""
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children.clear()


class Firewall(Host):
    """The customer's firewall; each method but `move` replaces all rules by its own."""

    outside = _OUTSIDE
    _mark = 0
    _former: tuple[str, ...] = ()

    def open(
        self, *, drop: Sequence[int] = (), refuse: Sequence[int] = (), redirect: Mapping[int, int] | None = None
    ) -> None:
        """Let the customer out by every port but these.

        To some, packets are dropped without a word; to some, connections are reset, also those that stand; some lead
        into a program in this namespace, as with a transparent proxy.
        """
        through = [f"tcp dport {_ports(drop)} drop"] if drop else []
        through += [f"tcp dport {_ports(refuse)} reject with tcp reset"] if refuse else []
        before = [f"iifname lan tcp dport {port} redirect to :{to}" for port, to in (redirect or {}).items()]
        self._rules(through, before)

    def reset(self) -> None:
        """Reset every connection that stands, on its next packet; new ones pass."""
        self._mark += 1
        new = f"tcp flags & (fin | syn | rst | ack) == syn ct mark set {self._mark}"
        self._rules([new, f"tcp flags & (syn | rst) == 0 ct mark != {self._mark} reject with tcp reset"])

    def cut(self) -> None:
        """Lose every packet between the customer and the internet; `open` ends it."""
        self._rules(["drop"])

    def move(self, address: str) -> None:
        """Take a new address outside: packets of what was open are lost, as after a new dial-in."""
        self._former = tuple({*self._former, self.outside} - {address})
        _ip("-n", self.namespace, "addr", "del", f"{self.outside}/24", "dev", "wan")
        self.outside = address
        _ip("-n", self.namespace, "addr", "add", f"{address}/24", "dev", "wan")
        self.open()

    def _rules(self, through: Sequence[str] = (), before: Sequence[str] = ()) -> None:
        text = f"""
            flush ruleset
            table ip customer {{
                chain before {{ type nat hook prerouting priority -100;
                    {"; ".join(before)}
                }}
                chain after {{ type nat hook postrouting priority 100; oifname wan snat to {self.outside}
                }}
                chain through {{ type filter hook forward priority 0; policy drop;
                    {"; ".join([f"ct reply ip daddr {old} drop" for old in self._former])}
                    {"; ".join(through)}
                    iifname lan accept
                    ct state established,related accept
                }}
            }}
        """
        done = subprocess.run(self.words("nft", "-f", "-"), input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def _ports(ports: Sequence[int]) -> str:
    return "{ " + ", ".join(str(port) for port in ports) + " }"


class Network:
    """All of it, by name: `network["esa"]`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.firewall = Firewall("firewall", _OUTSIDE, f"{prefix}-firewall")
        hosts = {**CUSTOMER, **INTERNET}
        self._hosts = {name: Host(name, address, f"{prefix}-{name}") for name, address in hosts.items()}

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def make(self) -> None:
        """Make the namespaces, links, routes and rules."""
        fire = self.firewall.namespace
        for host in (self.firewall, *self._hosts.values()):
            _ip("netns", "add", host.namespace)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        for bridge, address in (("lan", INSIDE), ("wan", _OUTSIDE)):
            _ip("-n", fire, "link", "add", bridge, "type", "bridge")
            _ip("-n", fire, "addr", "add", f"{address}/24", "dev", bridge)
            _ip("-n", fire, "link", "set", bridge, "up")
        for name, host in self._hosts.items():
            bridge, gateway = ("lan" if name in CUSTOMER else "wan"), (INSIDE if name == "esa" else "")
            there = ("link", "add", "eth0", "netns", host.namespace)
            _ip(*there, "type", "veth", "peer", "name", f"to-{name}", "netns", fire)
            _ip("-n", fire, "link", "set", f"to-{name}", "master", bridge)
            _ip("-n", fire, "link", "set", f"to-{name}", "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.namespace, "link", "set", "eth0", "up")
            if gateway:
                _ip("-n", host.namespace, "route", "add", "default", "via", gateway)
        _ip("-n", fire, "addr", "add", f"{_INSIDE_SIX}/64", "dev", "lan", "nodad")
        self.firewall.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        # Hosts of one side speak with each other past the rules, wherever bridges are filtered by default.
        self.firewall.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", check=False)
        self.firewall.open()

    def remove(self) -> None:
        """End what runs in the namespaces and remove them."""
        for host in (*self._hosts.values(), self.firewall):
            host.end()
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)


def permitted() -> bool:
    """Tell whether namespaces may be made here."""
    name = f"gp{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _sweep() -> None:
    """Remove what a run left behind that was killed: namespaces whose maker is gone, with all that runs there."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name in (line.split()[0] for line in listed.splitlines()):
        made = re.fullmatch(r"gp(\d+)-\d+-[a-z]+", name)
        if made is None or Path(f"/proc/{made[1]}").exists():
            continue
        there = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in there.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a network that nobody else uses and remove it in the end, whatever happened."""
    _sweep()
    made = Network(f"gp{os.getpid()}-{time.monotonic_ns() % 100000}")
    try:
        made.make()
        yield made
    finally:
        made.remove()
