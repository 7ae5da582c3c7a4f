"""What stands in a customer's firewall: programs of others in its namespace, that connections are led into.

Each starts one and gives the port that it listens on there.
"""

import subprocess
import sys
from pathlib import Path

from core import ssh
from tests.support.namespaces import INSIDE, Firewall
from tests.support.waiting import eventually

SMTP, HTTP, TLS, SSHD, MIRROR, PROXY = 10025, 10080, 10443, 10022, 10053, 3128


def smtp_inspection(firewall: Firewall, folder: Path) -> int:
    """A mail server whose greeting is masked."""
    firewall.start(folder / "smtp-sink.out", "smtp-sink", "-u", "nobody", "-h", "*" * 40, f"0.0.0.0:{SMTP}", "16")
    return _up(firewall, SMTP)


def http_proxy(firewall: Firewall, folder: Path, *, port: int = HTTP, connect: int = 443, resolver: str = "") -> int:
    """Run tinyproxy: transparent for what is led into it, and for CONNECT to one port; it asks its own name server."""
    file = folder / f"tinyproxy-{port}.conf"
    file.write_text(f'Port {port}\nTimeout 600\nLogFile "{file}.log"\nMaxClients 50\nConnectPort {connect}\n')
    command = f"exec tinyproxy -d -c {file}"
    if resolver:
        names = folder / "resolv.conf"
        names.write_text(f"nameserver {resolver}\n")
        command = f"mount --bind {names} /etc/resolv.conf && {command}"  # seen by this program only
    firewall.start(folder / f"tinyproxy-{port}.out", "sh", "-c", command)
    return _up(firewall, port)


def tls_inspection(firewall: Firewall, folder: Path) -> int:
    """Run stunnel with a certificate of its own; what is inside goes nowhere."""
    key, certificate, file = folder / "tls.key", folder / "tls.crt", folder / "stunnel.conf"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=Corporate Inspection", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    file.write_text(
        "foreground = yes\npid =\n"
        f"[inspection]\naccept = {TLS}\nconnect = 127.0.0.1:9\nkey = {key}\ncert = {certificate}\n"
    )
    firewall.start(folder / "stunnel.out", "stunnel", file)
    return _up(firewall, TLS)


def foreign_sshd(firewall: Firewall, folder: Path) -> int:
    """Run OpenSSH's server with a host key of its own."""
    key = folder / "foreign_ed25519"
    ssh.write_key(key, ssh.make_key())
    Path("/run/sshd").mkdir(exist_ok=True)
    words = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", str(key), "-p", str(SSHD), "-o", "PidFile=none"]
    firewall.start(folder / "sshd.out", *words)
    return _up(firewall, SSHD)


def ssh_decryption(firewall: Firewall, folder: Path) -> tuple[int, str, Path]:
    """Run a man in the middle that shows our banner; gives its port, its fingerprint, and what it has been told."""
    key, notes = folder / "mirror_ed25519", folder / "mirror.notes"
    ssh.write_key(key, ssh.make_key())
    words = [sys.executable, "-m", "tests.support.ssh_middlebox", str(MIRROR), str(key), str(notes)]
    firewall.start(folder / "mirror.out", *words)
    return _up(firewall, MIRROR), ssh.fingerprint(ssh.read_key(key)), notes


def _up(firewall: Firewall, port: int) -> int:
    def listens() -> bool:
        done = firewall.run("ss", "-Hltn", f"sport = :{port}")
        return bool(done.stdout.strip())

    eventually(listens, f"port {port} of {INSIDE} is open")
    return port
