"""keyd as the daemon that it is: as a user of its own, asked by the bastion's user and refused to everybody else."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.lab import GATEPOST, Ran, gatepost, ran, short_folder
from tests.support.need import needs, not_allowed
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tunnel.audit import verify

pytestmark = pytest.mark.slow
BASTION, KEYD, STRANGER = "bin", "daemon", "nobody"
"""Users that every machine has: the one the bastion runs as, keyd's own, and one who has nothing to do with it."""
ROOT = os.getuid() == 0


class Machine(NamedTuple):
    dir: Path
    config: Path

    @property
    def keyd(self) -> Path:
        return self.dir / "keyd"

    def clients(self, user: str) -> None:
        """Write [keyd] clients into the configuration; other sections have a key of that name too."""
        before, section, rest = self.config.read_text().partition("[keyd]")
        self.config.write_text(before + section + rest.replace("#clients = []", f'clients = ["{user}"]', 1))

    def run_as(self, user: str, *words: str) -> Ran:
        """Run the executable as another user of the machine's group; the stranger is of no group."""
        return ran([*_as(user), *GATEPOST, *words, "--config", str(self.config)])


def _as(user: str) -> list[str]:
    group = "nogroup" if user == STRANGER else BASTION
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "env", "PYTHONDONTWRITEBYTECODE=1"]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with short_folder() as folder:
        made = gatepost("init", "--role", "bastion", "--dir", str(folder / "m"), "--hostname", "b.example.test")
        assert made.status == 0, made
        config = folder / "m" / "gatepost.toml"
        text = config.read_text().replace("#engineer_address = (needed)", 'engineer_address = "127.0.0.1"')
        config.write_text(text)
        yield Machine(folder / "m", config)


@pytest.fixture
def shared(machine: Machine) -> Machine:
    """The machine with two users, as docs/daemons/keyd.md says to set it up."""
    if not ROOT:
        not_allowed("only root can be several users")
    if ran([*_as(STRANGER), sys.executable, "-c", "import daemons.keyd"]).status != 0:
        pytest.skip("other users cannot read this checkout")
    machine.dir.parent.chmod(0o755)
    subprocess.run(["chown", "-R", f"{BASTION}:{BASTION}", str(machine.dir)], check=True)
    subprocess.run(["chown", "-R", KEYD, str(machine.keyd)], check=True)
    return machine


@contextmanager
def running(machine: Machine, user: str | None = None, daemon: str = "keyd") -> Iterator[subprocess.Popen[bytes]]:
    """Run keyd, or another daemon, until the end of the block, which it must leave in order."""
    words = [*(_as(user) if user else ()), *GATEPOST, "run", daemon, "--config", str(machine.config)]
    said = machine.dir.parent / f"{daemon}.log"
    with open(said, "ab") as log, subprocess.Popen(words, stderr=log) as process:
        try:
            eventually(lambda: f"{daemon}: ready" in said.read_text() or process.poll() is not None)
            assert process.poll() is None, said.read_text()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            said.unlink()
    assert process.returncode == 0


@needs("setpriv")
def test_keyd_runs_as_a_user_of_its_own_and_the_bastions_user_is_let_in(shared: Machine) -> None:
    assert ran([*_as(KEYD), "cat", str(shared.dir / "keys" / "bastion_host_ed25519")]).status != 0
    assert ran([*_as(BASTION), "ls", str(shared.keyd)]).status != 0
    with running(shared, KEYD) as process:
        assert Path(f"/proc/{process.pid}").stat().st_uid != 0
        listed = shared.run_as(BASTION, "bastion", "support-key", "list", "--json")
        assert [key["key_id"] for key in listed.document["support_keys"]] == [1]
        refused = shared.run_as(BASTION, "bastion", "support-key", "new")
        assert (refused.status, refused.out) == (77, "")
        assert "support_key_new is for the user that keyd runs as" in refused.err
        assert shared.run_as(KEYD, "bastion", "support-key", "new").status == 0
        stopped = ran([*_as(BASTION), sys.executable, "-c", _STOP, str(shared.dir / "run" / "keyd.sock")])
        assert "stop is for the user that keyd runs as" in stopped.out
    assert stat.S_IMODE(shared.keyd.stat().st_mode) == 0o700
    assert {path.owner() for path in shared.keyd.iterdir()} == {KEYD}


_STOP = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
    'print(s.sendall(b\'{"v":1,"do":"stop"}\\n\') or s.makefile().readline())'
)


@needs("setpriv")
def test_where_clients_are_named_the_folders_owner_is_none_of_them(shared: Machine) -> None:
    shared.clients(STRANGER)
    with running(shared, KEYD):
        refused = shared.run_as(BASTION, "bastion", "support-key", "list")
    assert (refused.status, refused.out) == (77, "")


@needs("setpriv")
def test_a_third_user_is_refused_although_the_socket_can_be_reached(shared: Machine) -> None:
    with running(shared, KEYD):
        shared.dir.chmod(0o755)
        (shared.dir / "run").chmod(0o1771)
        shared.config.chmod(0o644)
        refused = shared.run_as(STRANGER, "bastion", "support-key", "list")
    assert (refused.status, refused.out) == (77, "")
    assert "keyd does not answer this user; name the user in [keyd] clients" in refused.err
    assert refused.err.count("\n") == 1


@needs("setpriv")
def test_keyd_as_the_wrong_user_does_not_start(shared: Machine) -> None:
    tried = shared.run_as(BASTION, "run", "keyd")
    assert tried.status == 78
    assert tried.err.count("\n") == 1
    assert "keyd" in tried.err


def test_a_folder_that_others_can_read_keeps_keyd_from_starting(machine: Machine) -> None:
    machine.keyd.chmod(0o755)
    tried = gatepost("run", "keyd", "--config", str(machine.config))
    assert (tried.status, tried.err.count("\n")) == (78, 1)
    assert f"{machine.keyd}: open to other users" in tried.err
    checked = gatepost("check", "--config", str(machine.config))
    assert (checked.status, f"{machine.keyd}: open to other users" in checked.err) == (78, True)


def test_a_user_that_does_not_exist_is_found_by_check(machine: Machine) -> None:
    machine.clients("no-such-user")
    for words in (("check",), ("run", "keyd")):
        tried = gatepost(*words, "--config", str(machine.config))
        assert tried.status == 78
        assert "keyd.clients" in tried.err
        assert "no-such-user" in tried.err


def test_without_keyd_a_command_says_how_to_start_it(machine: Machine) -> None:
    tried = gatepost("bastion", "support-key", "list", "--config", str(machine.config))
    assert tried.status == 69
    assert tried.err == f"gatepost: keyd is not running; start it: gatepost run keyd --config {machine.config}\n"


def test_support_keys_rotate_from_end_to_end(machine: Machine) -> None:
    """What docs/daemons/keyd.md says: make the next, configure the appliances, retire the old one."""
    keys = ("--config", str(machine.config), "--json")
    with running(machine):
        old = gatepost("bastion", "support-key", "list", *keys).document
        both = gatepost("bastion", "support-key", "new", *keys).document
        assert [key["key_id"] for key in both["support_keys"]] == [1, 2]
        again = gatepost("bastion", "support-key", "new", *keys)
        assert (again.status, again.err.count("\n")) == (69, 1)
        assert "retire the older, 1, first" in again.err
    appliance = _appliance(machine, both["tunnel"]["support_keys"])
    assert gatepost("check", "--config", str(appliance)).status == 0
    with running(machine):
        assert gatepost("bastion", "support-key", "list", *keys).document == both
        left = gatepost("bastion", "support-key", "retire", "1", *keys).document
        assert [key["key_id"] for key in left["support_keys"]] == [2]
        only = gatepost("bastion", "support-key", "retire", "2", *keys)
        assert (only.status, "the only support key" in only.err) == (64, True)
        text = gatepost("bastion", "support-key", "list", "--config", str(machine.config)).out
    assert old["support_keys"][0]["public"] not in text
    assert re.search(r'^support_keys = \["2 [A-Za-z0-9+/]{43}="\]$', text, re.MULTILINE)
    events = [json.loads(line)["event"] for line in (machine.keyd / "audit.jsonl").read_text().splitlines()]
    assert events == ["support-key-new", "support-key-retire"]
    assert verify(machine.keyd / "audit.jsonl") == 2


def _appliance(machine: Machine, support_keys: list[str]) -> Path:
    folder = machine.dir.parent / "esa"
    assert gatepost("init", "--role", "esa", "--dir", str(folder), "--hostname", "esa.example.test").status == 0
    config = folder / "gatepost.toml"
    text = config.read_text()
    assert "#support_keys = []" in text
    config.write_text(text.replace("#support_keys = []", f"support_keys = {json.dumps(support_keys)}"))
    return config


@needs("ssh-keyscan", "ssh-keygen")
def test_the_bastion_starts_without_keyd_and_shows_the_certificate_that_it_has(machine: Machine) -> None:
    ports = [free_port(), free_port()]
    text = machine.config.read_text().replace('#address = "0.0.0.0"', 'address = "127.0.0.1"')
    text = re.sub(r"^#ports = .*$", f"ports = [{ports[0]}]", text, count=1, flags=re.MULTILINE)
    text = text.replace("#engineer_port = 22", f"engineer_port = {ports[1]}")
    machine.config.write_text(text)
    with running(machine, daemon="bastion"):  # from what init wrote down
        assert _shown(ports[0]) == ""
    with running(machine), running(machine, daemon="bastion"):
        shown = eventually(lambda: _shown(ports[0]))
    with running(machine, daemon="bastion"):
        assert _shown(ports[0]) == shown
    authority = ran(["ssh-keygen", "-lf", str(machine.keyd / "host_ca_ed25519.pub")]).out.split()[1]
    facts = ran(["ssh-keygen", "-L", "-f", "-"], stdin=shown).out
    assert f"Signing CA: ED25519 {authority}" in facts
    assert "upgrades.gatepost.invalid" in facts


def _shown(port: int) -> str:
    """Give the host certificate that OpenSSH is shown, '' if there is none."""
    lines = ran(["ssh-keyscan", "-c", "-p", str(port), "127.0.0.1"]).out.splitlines()
    return "".join(line[line.index("ssh-ed25519-cert") :] + "\n" for line in lines if "-cert-v01" in line)


def test_a_machine_from_before_keyd_gives_its_authority_over(machine: Machine) -> None:
    old = machine.dir / "keys" / "engineer_ca_ed25519"
    (machine.keyd / "engineer_ca_ed25519").rename(old)
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(old)], capture_output=True, text=True, check=True).stdout
    shutil.rmtree(machine.keyd)
    with running(machine):
        assert not old.exists()
        made = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(machine.keyd / "engineer_ca_ed25519")],
            capture_output=True,
            text=True,
            check=True,
        )
    assert made.stdout.split()[:2] == public.split()[:2]
