"""The walk-through of docs/operations.md, typed on empty Debian machines: every block of it, in its order.

A block begins with `# on PLACE, PLACE and PLACE`; lines `<!-- carry PLACE:FILE PLACE … -->` are what the text says is
to be carried. Blocks that only set variables hold for all that follow on that machine. Words in capitals come out of
what was said before.
"""

import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.booted import ENGINEERS, Fleet
from tests.support.lab import Ran, ran, short_folder
from tests.support.namespaces import network
from tests.support.need import as_root, needs
from tests.support.nspawn import PROGRAMS, debian
from tests.support.package import PROGRAMS as PACKAGING
from tests.support.package import built_package
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs(*PROGRAMS, *PACKAGING, "ssh", "ssh-keygen"),
    as_root("systemd-nspawn"),
]
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
MACHINES = ("esa", "sma", "bastion")
PLACES = (*MACHINES, "workstation", "engineer")
TOLD = {
    "FINGERPRINT": r"(SHA256:\S+) .*\(ED25519\)",
    "ID": r"^([0-9a-f]{24})  .*invoice 17",
    "SEED": r"Seed string: +(\S+)",
    "SERIAL": r"[Ss]erial[\w ]*\"?: +\"?([0-9A-F]+-[0-9A-F]+)",
}
"""What the words in capitals are, in what a command has said."""
YOU = "you@example.test"
EXPECTED = (
    "RCPT TO:<you@example.test>: 250",
    "paired with ",
    "message filter:hold_invoices",
    "1 message released.",
    "may dial in",
    "Success - Remote Access has been enabled.",
    "Active: active (running)",
)
DONE = re.compile(r"Message finished MID \d+ done")


class Step(NamedTuple):
    """A block of commands and where they are typed, or a file that is carried."""

    places: tuple[str, ...]
    script: str
    carried: str = ""


def steps() -> Iterator[Step]:
    """Read the page."""
    page = PAGE.read_text()
    walk = page[page.index("## From an empty Debian machine") : page.index("## Ports and firewall rules")]
    for found in re.finditer(r"```sh\n# on ([^\n]*)\n(.*?)```|<!-- carry (\S+) (.*?) -->", walk, re.DOTALL):
        where, script, carried, to = found.groups()
        places = tuple(re.findall(r"\b(?:{})\b".format("|".join(PLACES)), (where or to).split(", with ")[0]))
        assert places, found[0]
        yield Step(places, re.sub(r"(?<=\S) +# .*", "", script or ""), carried or "")
    assert walk.count("```") == 2 * walk.count("```sh\n# on "), "a block that is not run"


class Site(Fleet):
    """Empty machines with the package's file, and two workstations that have SSH."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.variables = dict.fromkeys(PLACES, "")
        self.told: dict[str, str] = {}
        self.homes = {"workstation": self.net.firewall, "engineer": self.net["engineer"]}
        for name in self.homes:
            (self.dir / name).mkdir()

    def type(self, place: str, script: str) -> str:
        """Type a block, its words in capitals replaced; gives what it said."""
        text = re.sub(r"\b({})\b".format("|".join(TOLD)), lambda word: self.told[word[0]], script)
        whole = f"set -o pipefail; cd /root\n{self.variables[place]}{text}"
        done = self._ran(place, whole)
        assert done.status == 0, f"{place}: {script}\n{done.out}\n{done.err}"
        if re.fullmatch(r"(\w+=\S+\s*)+", script):
            self.variables[place] += script
        for word, pattern in TOLD.items():
            if found := re.search(pattern, done.out, re.MULTILINE):
                self.told[word] = found[1]
        return done.out

    def _ran(self, place: str, script: str) -> Ran:
        words, typed = ("bash", "-ec", script), f"{self.told.get('SEED', '')}\n"
        if place in self.homes:
            inside = shlex.join(["sh", "-ec", 'mount --bind "$0" /root; exec "$@"', str(self.dir / place), *words])
            return ran(self.homes[place].words("unshare", "--mount", "sh", "-c", inside), stdin=typed, within_s=180)
        return self[place].run(*words, stdin=typed, check=False, within_s=300)

    def file(self, place: str, name: str) -> Path:
        """Give the way to a file that a person at a place calls so."""
        if place in self.homes:
            return self.dir / place / Path(name).name
        return self[place].path(str(Path("/root", name)))

    def carry(self, step: Step) -> None:
        """Carry a file, as a person who may read it."""
        place, _, name = step.carried.partition(":")
        for other in step.places:
            self.file(other, Path(name).name).write_bytes(self.file(place, name).read_bytes())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Boot three empty machines with a name server in their resolv.conf."""
    package = built_package()
    with short_folder() as folder, network() as net:
        made = Site(folder, net, [debian()])
        made.start_world()
        net["bastion"].add_address(f"{ENGINEERS}/24")
        try:
            made.boot(*MACHINES)
            for machine in made.machines.values():
                machine.write("/etc/resolv.conf", f"nameserver {net['name'].address}\n")
                machine.path(f"/root/{package.name}").write_bytes(package.read_bytes())
                machine.write("/etc/dpkg/dpkg.cfg.d/fast", "force-unsafe-io\n")
            yield made
        finally:
            made.remove()


def type_everywhere(site: Site, step: Step) -> str:
    """Type a block at all its places at once; gives what was said."""
    with ThreadPoolExecutor(len(step.places)) as threads:
        return "".join(threads.map(lambda place: site.type(place, step.script), step.places))


def looked_up(site: Site, step: Step, pattern: str) -> str:
    """Type a block that only shows something, again and again until it does; gives what was said."""

    def shown() -> str:
        said = type_everywhere(site, step)
        return said if re.search(pattern, said, re.MULTILINE) else ""

    return eventually(shown, step.script, within_s=60)


def test_every_line_of_the_walk_through_does_what_the_page_says(site: Site) -> None:
    said: dict[str, str] = {}
    for step in steps():
        if step.carried:
            site.carry(step)
        elif "quarantine list" in step.script:
            site.wait_arrived([YOU])
            said[step.script] = looked_up(site, step, TOLD["ID"])
            assert site.arrived()[YOU] == 1
        elif ENGINEERS in step.script and "ssh -i" in step.script:
            wait_for_tunnel(site)
            said[step.script] = looked_up(site, step, "Status as of: ")
        else:
            said[step.script] = type_everywhere(site, step)
    eventually(lambda: site.arrived()[YOU] == 2, "what was released is delivered", within_s=60)
    eventually(lambda: DONE.search(site["esa"].cli("findevent", "to", YOU).out), "the mail log has it")
    shown = "\n".join(said.values())
    for expected in EXPECTED:
        assert expected in shown
    for role, machine in site.machines.items():
        machine.role = role
        assert machine.inactive() == []
        assert list(machine.path("/srv").glob("gatepost-*.tar")), role
    assert "currently disabled" in site["esa"].cli("techsupport", "status").out


def wait_for_tunnel(site: Site) -> None:
    """Wait until the gateway is connected: support looks, too, before logging in."""

    def connected() -> bool:
        return " connected " in str(site["bastion"].gatepost("bastion", "appliances").out)

    eventually(connected, "the tunnel is open", within_s=60)
