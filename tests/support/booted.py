"""ESA, SMA and bastion as machines that boot: the package unpacked; made, configured and started as the docs say.

They stand in the network of `namespaces.py`: a mail host and a name server on the internet, a client there whose mail
the firewall lets in to the ESA's port 25, the SMA without a route out.
"""

import contextlib
import json
import os
import signal
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core import ssh
from tests.support.lab import Ran, short_folder
from tests.support.namespaces import CUSTOMER, Network, network
from tests.support.nspawn import Machine
from tests.support.outside import content_of
from tests.support.package import unpacked
from tests.support.waiting import eventually

FOLDER = "/var/lib/gatepost"
DOMAIN = "support.test"
ENGINEERS = "198.51.100.11"
ADDRESSES = {**CUSTOMER, "bastion": "198.51.100.10"}
UNITS = {
    "esa": ("gateway@0", "delivery-queue", "cpq-listener", "tunnel-client", "console", "web"),
    "sma": ("delivery-queue", "cpq-listener", "release-host", "tunnel-client", "console", "web"),
    "bastion": ("bastion", "keyd", "console", "web"),
}
DNS = {"servers": ["198.51.100.53:53"], "timeout_s": 1}
INBOUND = """
[[listener]]
name = "InboundMail"
address = "10.77.1.10"
port = 25
rat = ["example.test"]

[listener.policy]
max_connections_per_address = 0
max_messages_per_session = 0
max_recipients_per_hour = 0
max_invalid_recipients_per_hour = 0
"""
FILTERS = 'hold_it: if (subject == "\\\\[hold\\\\]") { quarantine("Policy"); }\n'
POLICY = """
[[quarantine]]
name = "Policy"
"""


class Booted(Machine):
    """A machine of one role."""

    role = ""

    def make(self, role: str, public_key: str, **sections: dict[str, Any]) -> None:
        """Give it a role, as docs/systemd.md says; nothing is started."""
        self.role = role
        self.write("/root/admin.pub", public_key)
        words = ["init", "--role", role, "--dir", FOLDER, "--hostname", f"{role}.example.test"]
        self.gatepost(*words, "--admin-key", "/root/admin.pub")
        self.set(**sections)

    def write(self, inside: str, text: str) -> None:
        """Write a file, as an editor that keeps owner and mode of one that is there."""
        self.run("sh", "-c", 'cat >"$0"', inside, stdin=text)

    def set(self, more: str = "", **sections: dict[str, Any]) -> None:
        """Write keys into sections of the configuration, and more sections behind."""
        text = self.run("cat", f"{FOLDER}/gatepost.toml").out
        for section, keys in sections.items():
            assert f"\n[{section}]\n" in text, section
            lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            text = text.replace(f"\n[{section}]\n", f"\n[{section}]\n{lines}", 1)
        self.write(f"{FOLDER}/gatepost.toml", text + more)

    @property
    def serial(self) -> str:
        """Its serial number."""
        return str(tomllib.loads(self.run("cat", f"{FOLDER}/gatepost.toml").out)["appliance"]["serial"])

    def gatepost(self, *words: str, **options: Any) -> Ran:
        """Run the installed executable as root."""
        return self.run("gatepost", *words, **options)

    def cli(self, *words: str, **options: Any) -> Ran:
        """Run an operator command."""
        return self.gatepost("cli", *words, **options)

    def make_esa(self, public_key: str, **sections: dict[str, Any]) -> None:
        """Make it an ESA that takes mail from anywhere for example.test, and holds what has [hold] in its subject."""
        self.make("esa", public_key)
        self.set_esa(**sections)

    def set_esa(self, **sections: dict[str, Any]) -> None:
        """Write the configuration of such an ESA into the one that its machine was made with."""
        here = {"address": ADDRESSES["esa"]}
        self.set(INBOUND, dns=DNS, console=here, cpq=here, filters={"file": "filters.txt"}, **sections)
        self.write(f"{FOLDER}/filters.txt", FILTERS)

    def configure(self, role: str) -> str:
        """Let dpkg configure the unpacked package with a role given in advance, and give what that said.

        It makes the machine if there is none yet, and starts its target now and at every boot.
        """
        self.role = role
        answers = f"gatepost gatepost/role select {role}\ngatepost gatepost/hostname string {role}.example.test\n"
        self.run("debconf-set-selections", stdin=answers)
        return self.dpkg("--configure", "gatepost")

    def dpkg(self, *words: str) -> str:
        """Run dpkg, which asks nothing, and give what it said."""
        done = self.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-unsafe-io", *words, within_s=240)
        return done.out + done.err

    def wait_ready(self, within_s: float = 120) -> None:
        """Wait until every unit of its role is active: that is when the daemon has said that it is ready."""
        try:
            eventually(lambda: self.inactive() == [], within_s=within_s)
        except AssertionError as error:
            late = self.inactive()
            said = {one: self.journal(one.split()[0])[-15:] for one in late}
            raise AssertionError(f"{self.role} is not ready: {json.dumps(said, indent=1)}") from error

    def inactive(self) -> list[str]:
        """Name the units of its role that are not active."""
        units = [f"gatepost-{name}.service" for name in UNITS[self.role]]
        states = self.run("systemctl", "is-active", *units, check=False).out.split()
        return [f"{unit} {state}" for unit, state in zip(units, states, strict=True) if state != "active"]

    def pid(self, daemon: str) -> int:
        """Give the main process of a unit as the machine sees it, 0 for none."""
        return int(self.show(f"gatepost-{daemon}.service", "MainPID")["MainPID"])


class Fleet:
    """The machines that a test asked for, and the world outside."""

    def __init__(self, folder: Path, net: Network, layers: Sequence[Path]) -> None:
        self.dir, self.net = folder, net
        self.layers = layers
        self.machines: dict[str, Booted] = {}
        self.maildir = folder / "maildir"
        ssh.write_key(folder / "admin", ssh.make_key())
        self.admin = ssh.public_text(ssh.read_key(folder / "admin"))

    def __getitem__(self, role: str) -> Booted:
        return self.machines[role]

    def boot(self, *roles: str) -> None:
        """Boot machines with the package, at once, and wait for them."""
        for role in roles:
            cable = (self.net.firewall.namespace, f"to-{role}")
            self.machines[role] = Booted(self.dir / role, self.net[role], self.layers, cable)
            self.machines[role].switch_on()
        for role in roles:
            self.machines[role].wait_booted()

    def remove(self) -> None:
        """End all machines."""
        for machine in self.machines.values():
            machine.remove()

    # -- the world outside ---------------------------------------------------------------------------------------

    def start_world(self) -> None:
        """Start name server and mail host, and let mail in through the firewall."""
        name, mailhost, bastion = self.net["name"], self.net["engineer"], ADDRESSES["bastion"]
        zone = ["example.test. 300 MX 10 mx.example.test.", f"mx.example.test. 300 A {mailhost.address}"]
        for series in ("c", "m", "x", "s"):
            at = f"{series}.tunnels.{DOMAIN}."
            zone += [f"_gatepost-tunnel._tcp.{at} 1 SRV 10 10 25 {at}", f"{at} 1 A {bastion}"]
        zone.append(f"upgrades.{DOMAIN}. 1 A {bastion}")
        (self.dir / "zone").write_text("".join(f"{line}\n" for line in zone))
        module = (sys.executable, "-m")
        name.start(self.dir / "dns.log", *module, "ops.lab.nameserver", name.address, "53", self.dir / "zone")
        mailhost.start(self.dir / "mail.log", *module, "ops.lab.mailhost", mailhost.address, "25", self.maildir)
        eventually((self.maildir / "new").is_dir, "the mail host runs")
        fire = self.net.firewall
        fire.run("nft", "add rule ip customer before iifname wan tcp dport 25 dnat to 10.77.1.10")
        fire.run("nft", "add rule ip customer through ct status dnat accept")

    @contextlib.contextmanager
    def load(self, word: str) -> Iterator[Path]:
        """Send mail from outside for as long as this lasts; gives the file of what was accepted."""
        accepted, client = self.dir / f"{word}.accepted", self.net["engineer"]
        accepted.touch()
        words = ("tests.support.outside", f"{self.net.firewall.outside}:25", word, accepted)
        pid = client.start(self.dir / f"{word}.log", sys.executable, "-m", *words)
        child = next(one for one in client.children if one.pid == pid)
        try:
            yield accepted
        finally:
            os.kill(pid, signal.SIGTERM)
            child.wait(30)
            client.children.remove(child)

    def send(self, recipient: str, subject: str = "hello") -> None:
        """Send one message from outside."""
        script = f"import smtplib; smtplib.SMTP('{self.net.firewall.outside}', 25, 'out.test', 20).sendmail("
        script += f"'s@outside.test', ['{recipient}'], 'Subject: {subject}\\r\\n\\r\\n{recipient}\\r\\n')"
        self.net["engineer"].run(sys.executable, "-c", script)

    def arrived(self) -> Counter[str]:
        """Count what arrived at the mail host by recipient; a message of the load must be whole."""
        found: Counter[str] = Counter()
        for file in (self.maildir / "new").iterdir():
            _, line, content = file.read_bytes().split(b"\r\n", 2)
            recipient = line.decode().removeprefix("X-RcptTo: ")
            found[recipient] += 1
            assert b"Subject: for " not in content or content.endswith(content_of(recipient)), file
        return found

    def wait_arrived(self, recipients: Sequence[str], within_s: float = 60) -> None:
        """Wait until every recipient has a copy."""

        def missing() -> list[str]:
            there = self.arrived()
            return [one for one in recipients if not there[one]]

        eventually(lambda: not missing(), lambda: f"mail is delivered; missing: {missing()[:5]}", within_s=within_s)


@contextlib.contextmanager
def fleet(*roles: str) -> Iterator[Fleet]:
    """Boot machines with the package unpacked in the network with its outside; all of it goes in the end."""
    with short_folder() as folder, network() as net:
        made = Fleet(folder, net, unpacked())
        made.start_world()
        try:
            made.boot(*roles)
            yield made
        finally:
            made.remove()
