"""The lab of compose.yaml, run by a Docker engine of the test's own without any registry.

The images' base is the Debian root of `tests/setup-root`, their libraries are those of `debian/wheels`. Everything that
is asked or done goes through `docker`, as an operator would. `python -m tests.support.compose_lab` runs the
demonstration (`make compose-demo`).
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from tests.support.docker_engine import PROGRAMS, Engine, engine, permitted
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
BUILD_S, UP_S = 600.0, 600.0
PYTHON = "/usr/lib/gatepost/bin/python3"

# Run in a container: one message a connection, so that none is in doubt but the one at hand. What was answered with 250
# is printed at once; the first error ends it.
_SEND = """
import smtplib, sys
host, subject, domain, *names = sys.argv[1:]
for name in names:
    text = f"From: {name}@sender.test\\r\\nTo: {name}@{domain}\\r\\nSubject: {subject}\\r\\n\\r\\n{name}\\r\\n"
    try:
        with smtplib.SMTP(host, 25, timeout=30) as client:
            client.sendmail(f"{name}@sender.test", [f"{name}@{domain}"], text)
            print(name, flush=True)
    except (OSError, smtplib.SMTPException) as error:
        sys.exit(f"{name}: {error}")
"""
_ARRIVED = """
import pathlib
for file in pathlib.Path("/lab/mailhost/maildir/new").iterdir():
    print(file.read_bytes().split(b"\\r\\n")[1].decode().removeprefix("X-RcptTo: "))
"""
_KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
except OSError as error:
    sys.exit(f"{error}")
"""


def until(what: str, done: Callable[[], bool], patience_s: float = 120.0) -> None:
    """Wait until it is done; a container that is being started again may fail the look, or say nothing."""
    eventually(done, what, within_s=patience_s, despite=(RuntimeError, ValueError, LookupError))


class ComposeLab:
    """The containers of the lab, by the names of their services."""

    def __init__(self, running: Engine) -> None:
        self.engine = running

    def compose(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with the project's file."""
        return self.engine.docker("compose", "--project-directory", ROOT, *words, check=check, **options)

    def build(self) -> None:
        """Make the file's images of a Debian root and the wheels; what did not change is not made again."""
        subprocess.run([ROOT / "debian" / "wheels", sys.executable], check=True, stdout=subprocess.DEVNULL)
        made = subprocess.run([ROOT / "tests" / "setup-root"], check=True, capture_output=True, text=True)
        tarball = Path(made.stdout.strip())
        self.engine.environment["GATEPOST_BASE"] = base = f"gatepost-base:{tarball.stem}"
        if not self.engine.has_image(base):
            self.engine.docker("import", tarball, base)
        # The stage that both images are made of has a name, or it would go with what is swept out at the end.
        arguments = ("--build-arg", f"BASE={base}", "--target", "build", "--tag", "gatepost-build")
        self.engine.docker("build", *arguments, ROOT, timeout=BUILD_S)
        services = json.loads(self.compose("config", "--format", "json").stdout)["services"]
        makers = {row["image"]: name for name, row in services.items() if "build" in row}
        for service in sorted(makers.values()):
            self.compose("build", service, timeout=BUILD_S)

    def up(self) -> None:
        """Start every service and wait until all are healthy; tells what the ones that are not have said."""
        done = self.compose("up", "--detach", "--no-build", "--wait", check=False, timeout=UP_S)
        assert done.returncode == 0, f"{done.stderr[-2000:]}\n{self.compose('logs', '--tail', '20').stdout[-6000:]}"

    def container(self, service: str) -> str:
        """Give the name of a service's container, as the file's project name and compose make it."""
        return f"gatepost-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        """Give what Docker knows of a service's container."""
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", self.container(service)).stdout)
        return found[0]

    def healthy(self, service: str) -> bool:
        """Tell whether Docker calls a service's container healthy."""
        return str(self.inspect(service)["State"]["Health"]["Status"]) == "healthy"

    def ready(self, machine: str) -> bool:
        """Tell whether all daemons of a machine say that they are ready, without waiting for Docker to ask."""
        asked = self.run(machine, "gatepost", "health", "--json", check=False)
        return not asked.returncode and {row["state"] for row in json.loads(asked.stdout)["daemons"]} == {"ready"}

    def run(self, service: str, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return self.engine.docker("exec", "--interactive", self.container(service), *words, check=check, **options)

    def ask(self, machine: str, *command: str) -> Any:
        """Give the document of an operator's command."""
        return json.loads(self.run(machine, "gatepost", "cli", *command, "--json").stdout)

    def begin_sending(self, source: str, host: str, names: Sequence[str], subject: str, domain: str) -> Popen[str]:
        """Send a message to each name from a service's container, up to the first error; prints those taken."""
        words = ["docker", "exec", self.container(source), PYTHON, "-c", _SEND, host, subject, domain, *names]
        return Popen(words, env=self.engine.environment, stdout=PIPE, stderr=PIPE, text=True)

    def send(
        self, source: str, host: str, names: Sequence[str], *, subject: str = "lab", domain: str = "example.test"
    ) -> None:
        """Send a message to each name, from a service's container; all must be taken."""
        with self.begin_sending(source, host, names, subject, domain) as sending:
            taken, complaint = sending.communicate(timeout=120)
        assert taken.split() == list(names), complaint

    def arrived(self, prefix: str) -> Counter[str]:
        """Count what the outside mail host has stored for names that begin so."""
        lines = self.run("mailhost", PYTHON, "-c", _ARRIVED).stdout.splitlines()
        names = (one.partition("@")[0] for line in lines for one in line.split(", "))
        return Counter(name for name in names if name.startswith(prefix))

    def reaches(self, service: str, host: str, port: int) -> bool:
        """Tell whether a connection from a service's container comes about."""
        return self.run(service, PYTHON, "-c", _KNOCK, host, str(port), check=False).returncode == 0


@contextlib.contextmanager
def compose_lab() -> Iterator[ComposeLab]:
    """Build the images, bring the lab up, and leave nothing of it but images."""
    with engine() as running:
        lab = ComposeLab(running)
        lab.build()
        lab.up()
        yield lab


def main() -> int:
    """Run the demonstration across the containers; its status is that of `gatepost lab demo`."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or not permitted():
        why = (
            f"missing: {', '.join(missing)}; run: make tools"
            if missing
            else "namespaces are not permitted; run as root"
        )
        print(f"compose-demo: {why}", file=sys.stderr)
        return 69
    with engine() as running:
        lab = ComposeLab(running)
        print("images: a Debian root and our wheels (a minute if they are not there yet)", flush=True)
        lab.build()
        print("containers", flush=True)
        lab.up()
        words = ["docker", "compose", "--project-directory", str(ROOT), "run", "--rm", "demo"]
        return subprocess.run(words, env=running.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
