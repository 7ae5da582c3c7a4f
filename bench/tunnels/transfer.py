"""One file over three roads: recorded through the bastion, straight through it, and over OpenSSH's own servers only.

All three are fetched by stock `scp` with the same cipher, in turns; what counts is the ratio of a turn. The peer is
`scp -J` over two sshd on loopback with keys and configuration of their own.
"""

import getpass
import os
import secrets
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.process import end
from core.ssh import ensure_key, known_hosts_line, public_text

NAME = "bench.pcap"
CIPHER = "aes256-gcm@openssh.com"
RECORDED, STRAIGHT, PEER = "recorded", "straight", "openssh"
_LIMIT_S = 300.0

_HOST = """
Host {alias}
  HostName {host}
  Port {port}
  User {user}
  IdentityFile {key}
  UserKnownHostsFile {known}
  {more}
"""
_COMMON = f"""
Host *
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  StrictHostKeyChecking yes
  Ciphers {CIPHER}
  Compression no
"""
_SSHD = """
Port {port}
ListenAddress {host}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid-{port}
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


class Roads:
    """Fetches the same file over each road."""

    def __init__(self, facts: dict[str, Any], folder: Path, peers: tuple[str, str], mebibytes: int) -> None:
        """`peers` are the addresses of the two sshd; `facts` those of lab.json."""
        self._facts, self._folder, self._peers = facts, folder, peers
        self._octets = mebibytes << 20
        folder.mkdir()
        captures = Path(facts["esa"]["config"]).parent / "captures"
        content = secrets.token_bytes(1 << 20) * mebibytes
        for place in (captures, folder):
            (place / NAME).write_bytes(content)
        self._config = folder / "ssh_config"
        self._config.write_text(_COMMON + self._ours() + self._theirs())

    def _ours(self) -> str:
        engineer, serial = self._facts["engineer"], self._facts["esa"]["serial"].lower()
        certificate = engineer["certificate"]
        host, _, port = self._facts["bastion"]["engineers"].rpartition(":")
        base = {"key": engineer["key"], "known": engineer["known_hosts"]}
        inner = certificate.replace("-cert.pub", f"-{serial}-cert.pub")
        bastion = _HOST.format(
            alias="bastion", host=host, port=port, user=serial, more=f"CertificateFile {certificate}", **base
        )
        more = f"CertificateFile {inner}\n  HostKeyAlias {serial}\n  ProxyJump bastion"
        return bastion + _HOST.format(alias="appliance", host=serial, port=22, user="service", more=more, **base)

    def _theirs(self) -> str:
        folder, user = self._folder, getpass.getuser()
        (folder / "user.pub").write_text(public_text(ensure_key(folder / "user")) + "\n")
        public = public_text(ensure_key(folder / "host"))
        port = 2222
        (folder / "known").write_text("".join(f"{known_hosts_line(one, public, port)}\n" for one in self._peers))
        base = {"port": port, "user": user, "key": folder / "user", "known": folder / "known"}
        jump, target = self._peers
        return _HOST.format(alias="jump", host=jump, more="", **base) + _HOST.format(
            alias="target", host=target, more="ProxyJump jump", **base
        )

    @contextmanager
    def peers(self) -> Iterator[None]:
        """Run the two sshd."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        started = []
        try:
            for host in self._peers:
                config = self._folder / f"sshd-{host}"
                config.write_text(_SSHD.format(host=host, port=2222, folder=self._folder))
                argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
                with (self._folder / f"sshd-{host}.log").open("wb") as log:
                    started.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log))
            yield
        finally:
            for one in started:
                end(one)

    def fetch(self, road: str) -> float:
        """Fetch the file over a road; gives mebibytes a second, of which the login is part."""
        source = {
            RECORDED: f"bastion:captures/{NAME}",
            STRAIGHT: f"appliance:captures/{NAME}",
            PEER: f"target:{self._folder / NAME}",
        }[road]
        target = self._folder / f"from-{road}"
        argv = ["scp", "-q", "-F", str(self._config), source, str(target)]
        begun = time.monotonic()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        took_s = time.monotonic() - begun
        if done.returncode or target.stat().st_size != self._octets:
            raise SystemExit(f"bench: the file did not come over the road {road}: {done.stderr.strip()}")
        target.unlink()
        return self._octets / took_s / (1 << 20)


def summary(turns: list[dict[str, float]]) -> dict[str, Any]:
    """Give the median speed of each road and the median of the turns' ratios to the peer."""
    roads = (RECORDED, STRAIGHT, PEER)
    return {
        "mib_per_s": {road: round(statistics.median(turn[road] for turn in turns), 1) for road in roads},
        "ratio": {road: round(statistics.median(turn[road] / turn[PEER] for turn in turns), 3) for road in roads[:2]},
    }
