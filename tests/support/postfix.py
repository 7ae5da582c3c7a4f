"""A real Postfix on loopback that takes mail for anybody and relays it to a port of the test.

    with running_postfix(folder, relay_port, smtpd_recipient_limit="2") as port: ...

Its configuration lies in a temporary folder; the master is stopped at the end. It starts as root only.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.need import not_allowed
from tests.support.ports import free_port
from tests.support.waiting import eventually

_MAIN = {
    "compatibility_level": "3.6",
    "command_directory": "/usr/sbin",
    "daemon_directory": "/usr/lib/postfix/sbin",
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "myhostname": "postfix.test",
    "mydestination": "",
    "local_recipient_maps": "",
    "mynetworks": "127.0.0.0/8",
    "smtp_dns_support_level": "disabled",
    "smtpd_peername_lookup": "no",
    "smtpd_delay_reject": "no",
}
_SERVICES = ("rewrite", "bounce", "defer", "trace", "smtp", "relay", "error", "retry")
_COMMANDS = {"rewrite": "trivial-rewrite", "defer": "bounce", "trace": "bounce", "relay": "smtp", "retry": "error"}


@contextmanager
def running_postfix(folder: Path, relay_port: int, **settings: str) -> Iterator[int]:
    """Start a Postfix with some settings more, and give its port."""
    if os.geteuid() != 0:
        not_allowed("Postfix starts as root only")
    port = free_port()
    places = {name: folder / name for name in ("conf", "queue", "data")}
    for place in places.values():
        place.mkdir(parents=True)
    shutil.chown(places["data"], "postfix")
    for parent in (folder, *folder.parents[:4]):
        with contextlib.suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o055)
    log = folder / "log"
    main = _MAIN | {
        "queue_directory": str(places["queue"]),
        "data_directory": str(places["data"]),
        "relayhost": f"[127.0.0.1]:{relay_port}",
        "maillog_file": str(log),
        "maillog_file_prefixes": str(log),
    }
    text = "".join(f"{name} = {value}\n" for name, value in (main | settings).items())
    (places["conf"] / "main.cf").write_text(text)
    lines = [f"127.0.0.1:{port} inet n - n - - smtpd", "qmgr unix n - n 300 1 qmgr", "pickup unix n - n 60 1 pickup"]
    lines += ["cleanup unix n - n - 0 cleanup", "flush unix n - n 1000? 0 flush"]
    lines += [f"{name} unix - - n - 0 {_COMMANDS.get(name, name)}" for name in _SERVICES]
    lines += ["anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd"]
    (places["conf"] / "master.cf").write_text("\n".join(lines) + "\n")
    command = ["/usr/sbin/postfix", "-c", str(places["conf"])]
    begun = subprocess.run([*command, "start"], check=False, capture_output=True)
    assert begun.returncode == 0, (begun, log.read_text() if log.exists() else "")
    try:
        _wait(port, log)
        yield port
    finally:
        subprocess.run([*command, "stop"], check=False, capture_output=True)


def _wait(port: int, log: Path) -> None:
    def greets() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as found:
            return found.recv(4) == b"220 "

    eventually(greets, lambda: f"Postfix answers: {log.read_text() if log.exists() else 'no log'}", despite=(OSError,))
