"""The Debian package, as dpkg and an administrator meet it: built, read by lintian, installed, removed, purged.

Each step runs in a Debian root that is not booted, on what the step before has left; that its daemons work under
systemd is for the tests of systemd.
"""

import gzip
import io
import subprocess
import tarfile
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support import nspawn, package
from tests.support.need import as_root, needs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs(*nspawn.PROGRAMS, *package.PROGRAMS, "lintian", "man"),
    as_root("roots of machines are made by root"),
]

MACHINE = "/var/lib/gatepost/gatepost.toml"
PRESEED = """debconf-set-selections <<'END'
gatepost gatepost/role select esa
gatepost gatepost/hostname string mx1.example.org
END
"""


@pytest.fixture(scope="module")
def deb() -> Path:
    return package.built_package()


@pytest.fixture(scope="module")
def content(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
    return folder


class Root:
    """A Debian root on which one step follows another; at first the package is unpacked and not configured."""

    def __init__(self, folder: Path, deb: Path) -> None:
        self._folder, self._deb = folder, deb
        self._layers = package.unpacked()

    def step(self, script: str) -> str:
        """Run a script, whose commands must succeed, and give what it said."""
        folder = self._folder / str(len(self._layers))
        words = f"exec >/said 2>&1\nexport DEBIAN_FRONTEND=noninteractive\n{script}"
        words = words.replace("dpkg -i", "dpkg --force-unsafe-io -i")
        try:
            layer = nspawn.install(folder, self._layers, words, f"--bind-ro={self._deb}:/gatepost.deb")
        except AssertionError as error:
            said = folder / "layer" / "said"
            raise AssertionError(f"{script}: {said.read_text() if said.exists() else error}") from error
        self._layers.insert(0, layer)
        return (layer / "said").read_text()


@pytest.fixture
def root(deb: Path, tmp_path: Path) -> Root:
    return Root(tmp_path, deb)


def test_lintian_finds_nothing(deb: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", deb], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_environment_holds_no_trace_of_where_it_was_built(content: Path) -> None:
    environment = content / "usr/lib/gatepost"
    names = {path.name for path in (environment / "lib/python3.11/site-packages").iterdir()}
    assert {"daemons", "protocol", "uvloop", "asyncssh"} <= names
    assert not {name for name in names if name.startswith(("pip", "setuptools", "pytest"))}
    assert sorted(path.name for path in (environment / "bin").iterdir()) == ["gatepost", "python3"]
    assert (environment / "bin/python3").readlink() == Path("../../../bin/python3")
    found = subprocess.run(["grep", "-rla", "/tmp/gpdeb", content], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_nothing_in_it_is_later_than_its_release(deb: Path, content: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(listed)) as archive:
        latest = max(member.mtime for member in archive)
    signed = gzip.decompress((content / "usr/share/doc/gatepost/changelog.Debian.gz").read_bytes()).decode()
    assert latest <= parsedate_to_datetime(signed.rstrip().rpartition(">  ")[2]).timestamp()
    compressed = list(content.rglob("*.gz"))
    assert compressed
    assert {path.read_bytes()[4:8] for path in compressed} == {bytes(4)}


def test_every_module_is_compiled_and_not_again_at_its_first_import(content: Path) -> None:
    modules = list((content / "usr/lib/gatepost/lib/python3.11/site-packages/daemons").rglob("*.py"))
    assert modules
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-311.pyc"
        assert int.from_bytes(compiled.read_bytes()[8:12], "little") == int(module.stat().st_mtime)


def test_manual_pages_and_completion_are_where_they_are_looked_for(content: Path) -> None:
    pages = {path.name: path for path in (content / "usr/share/man").rglob("*.gz")}
    assert {"gatepost.1.gz", "gatepost-cli.1.gz", "gatepost.toml.5.gz", "gatepost-gateway.8.gz"} <= pages.keys()
    words = ["man", "--warnings=w", "-l", pages["gatepost.1.gz"]]
    shown = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "gatepost.toml" in shown.stdout
    assert shown.stderr == ""
    for place in ("bash-completion/completions/gatepost", "zsh/vendor-completions/_gatepost"):
        assert "listenerconfig" in (content / "usr/share" / place).read_text()
    assert "listenerconfig" in (content / "usr/share/fish/vendor_completions.d/gatepost.fish").read_text()


def test_a_machine_is_made_at_the_installation_and_survives_all_but_a_purge_that_says_so(root: Root) -> None:
    said = root.step(PRESEED + "dpkg --configure gatepost")
    assert f"{MACHINE}: made" in said
    assert "Failed" not in said
    said = root.step(f"""gatepost --version
        gatepost check
        systemctl is-enabled gatepost-esa.target
        stat -c %U:%a {MACHINE}
        grep -q '^hostname = "mx1.example.org"' {MACHINE}
        sha256sum {MACHINE} >/before
        dpkg -r gatepost
        sha256sum -c /before
        test ! -e /usr/lib/gatepost -a ! -e /usr/bin/gatepost -a -d /var/log/gatepost""")
    assert said.startswith("gatepost ")
    assert "\n/etc/gatepost/gatepost.toml: ok\nenabled\ngatepost:640\n" in said
    said = root.step("""dpkg -i /gatepost.deb
        sha256sum -c /before
        gatepost check
        systemctl is-enabled gatepost-esa.target
        dpkg -P gatepost
        sha256sum -c /before
        test ! -e /var/log/gatepost -a ! -e /etc/gatepost
        find /etc /usr /run /lib/systemd -name '*gatepost*'""")
    assert "/var/lib/gatepost is kept" in said
    assert "rm -r /var/lib/gatepost" in said
    assert said.splitlines()[-1] == f"{MACHINE}: OK"
    # It goes on with the machine that it finds, and now the whole of it is to go.
    said = root.step("""dpkg -i /gatepost.deb
        sha256sum -c /before
        systemctl is-enabled gatepost-esa.target
        echo gatepost gatepost/purge_machine boolean true | debconf-set-selections
        mv /var/lib/gatepost /srv/machine
        ln -s /srv/machine /var/lib/gatepost
        dpkg -P gatepost
        test -z "$(ls -A /srv/machine)"
        find /etc /usr /run /var -name '*gatepost*'""")
    assert said.splitlines()[-1].startswith("Purging"), said


TYPED = """python3 - <<'END'
import os, pty
child, terminal = pty.fork()
if child == 0:
    os.environ.update(DEBIAN_FRONTEND="readline", TERM="dumb")
    os.execvp("dpkg", ["dpkg", "--configure", "gatepost"])
said, answers = b"", {answers!r}
try:
    while data := os.read(terminal, 4096):
        os.write(1, data)
        said += data
        if answers and answers[0][0] in said:
            os.write(terminal, answers.pop(0)[1])
except OSError:
    pass  # the terminal is gone with its last process
assert (os.waitpid(child, 0)[1], answers) == (0, [])
END
"""


@pytest.mark.parametrize(
    ("role", "name", "said"),
    [("sma", "sma1.example.org", ["units of a machine of role sma"]), ("bastion", "", ["engineer_address", "mend"])],
)
def test_a_machine_is_made_by_the_dialogue(root: Root, role: str, name: str, said: list[str]) -> None:
    """Where the name is left empty it is that of the machine; a bastion has to be told an address by hand."""
    answers = [(b"Role of this machine: ", f"{role}\n"), (b"Full host name of this machine: ", f"{name}\n")]
    typed = TYPED.format(answers=[(question, answer.encode()) for question, answer in answers])
    shown = root.step(f"""{typed}systemctl is-enabled gatepost-{role}.target
        grep '^role = "{role}"' {MACHINE}
        grep '^hostname = "{name or "..*"}"' {MACHINE}""")
    assert [words for words in (*said, "enabled\n", "hostname = ") if words not in shown] == [], shown
    assert "Temporary failure" not in shown


def test_without_a_role_there_are_programs_and_the_command_that_gives_one(root: Root) -> None:
    said = root.step("dpkg --configure gatepost\ntest ! -e /var/lib/gatepost\ngatepost run console || test $? = 78")
    assert "this machine has no role yet. To give it one: dpkg-reconfigure gatepost" in said
    bad = PRESEED.replace("mx1.example.org", "-x $(id) y")
    said = root.step(f"{bad}dpkg-reconfigure gatepost\ntest ! -e {MACHINE}\ndpkg -s gatepost")
    assert "mend what is said above, then: dpkg-reconfigure gatepost" in said
    assert "Status: install ok installed" in said
    said = root.step(
        PRESEED + f"dpkg-reconfigure gatepost\ntest -e {MACHINE}\nsystemctl is-enabled gatepost-esa.target"
    )
    assert said.splitlines()[-1] == "enabled"


def test_an_upgrade_leaves_a_machine_that_was_made_by_hand_as_it_is(root: Root) -> None:
    said = root.step(f"""dpkg --configure gatepost
        gatepost init --role sma --dir /var/lib/gatepost --hostname h.example.org
        sha256sum {MACHINE} >/before
        dpkg -i /gatepost.deb
        sha256sum -c /before""")
    assert said.splitlines()[-1] == f"{MACHINE}: OK"
    assert said.count("has no role") == 1
