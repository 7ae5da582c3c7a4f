"""Two releases on the machines of a lab, one daemon after the other, up and down again, while mail flows.

The other release is a copy of the tree with newer layouts in journals, queue and quarantine, and a field more in the
documents of messages. The queue is full, mail is held, a change of the configuration is pending, and hosts outside
send all the time and try again as a mail host does. In between, releases are mixed on one machine (a new gateway with
an old queue, and the other way round) and between machines (gateway new, management host old). At the end nothing is
lost and nothing came twice but what a host outside sent twice. GATEPOST_LONG=1 has a queue of 20,000.
"""

import json
import signal
import smtplib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.lab import Lab, Ran, gatepost, ran, running_lab
from tests.support.long import either
from tests.support.release import Release, additions, files_below
from tests.support.senders import Senders, message, recipient
from tests.support.waiting import eventually

NETS = ("127.84", "127.184", "127.185", "127.186")
QUEUED = either(200, 20_000)
SENDERS = 2
PENDING = "later.example"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(600, 3000))]


class Outside(Senders):
    """Hosts that try each message until it is taken."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, SENDERS, 0.1)
        self._next = [0] * SENDERS
        self.taken: set[str] = set()
        self.uncertain: set[str] = set()
        """Sent again because the connection was lost when the answer was due."""

    def send_next(self, client: smtplib.SMTP, host: int) -> None:
        to = recipient(host, self._next[host])
        try:
            client.sendmail("outside@sender.test", [to], message(to, 20))
        except (smtplib.SMTPServerDisconnected, ConnectionError, TimeoutError):
            self.uncertain.add(to)
            raise
        self.taken.add(to)
        self._next[host] += 1


class Site:
    """A lab of this release, full, and a newer release."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.newer = Release(folder / "newer", "99.1", additions(compatible=True))
        self.strange = Release(folder / "strange", "99.2", additions(compatible=False))
        self.queued = {f"queued-{number}@example.test" for number in range(QUEUED)}

    def fill(self) -> None:
        """Queue mail that cannot leave, hold some, and leave a change pending."""
        self.lab.signal("lab/mailhost", signal.SIGTERM)
        self.lab.send_all([([to], f"Subject: {to}\r\n\r\nbody\r\n".encode()) for to in sorted(self.queued)])
        self.lab.hold(count=3)
        pending = self.lab.cli("esa", "smtproutes", "new", PENDING, "127.0.0.1")
        assert pending.status == 0, pending

    def move(self, release: Release | None, *names: str) -> None:
        """Stop daemons of one machine and start them as another release, None is this one."""
        for name in names:
            self.lab.signal(name, signal.SIGTERM)
        name = names[0] if len(names) == 1 else names[0].split("/")[0]
        assert (started := self.start(release, name)).status == 0, started

    def start(self, release: Release | None, name: str) -> Ran:
        """Start a daemon as a release."""
        words = ("lab", "start", name, "--dir", str(self.lab.dir))
        return gatepost(*words, env=release.environment) if release else gatepost(*words)

    def layouts(self, role: str) -> tuple[int, int, int]:
        """Give what the stores themselves say: release of the record, newest layout of the journals, of the queue."""
        machine = self.lab.dir / role
        release = json.loads((machine / "state" / "format.json").read_text())["release"]
        heads = [path.read_bytes()[8:10] for path in (machine / "spool" / "journal").glob("*/*.segment")]
        with closing(sqlite3.connect(machine / "spool" / "queue" / "queue.db", timeout=20)) as queue:
            [(version,)] = queue.execute("SELECT version FROM gatepost_schema")
        return int(release.split(".")[0]), max(int.from_bytes(head, "little") for head in heads), version

    def flows(self, outside: Outside) -> None:
        """Wait until mail that is sent from now on has arrived: through the machines as they are mixed now."""
        before = set(outside.taken)

        def arrived() -> bool:
            new = outside.taken - before
            held = {row["recipients"][0] for row in self.lab.held()}
            return bool(new & self.lab.counted().keys()) and bool(new & held)

        eventually(arrived, "mail goes on, to the mail host and into the quarantine", within_s=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_lab(*NETS) as lab:
        yield Site(lab, tmp_path_factory.mktemp("releases"))


def test_up_and_down_under_load_nothing_is_lost_or_doubled(site: Site) -> None:
    lab = site.lab
    site.fill()
    with Outside(lab) as outside:
        site.move(site.newer, "esa/gateway")
        lab.start("lab/mailhost")
        site.flows(outside)  # the gateway is newer than its queue
        site.move(site.newer, "esa/delivery-queue", "esa/cpq-listener")
        site.flows(outside)  # the gateway's machine is newer than the management host
        released = [row["id"] for row in lab.held()][:2]
        lab.control("sma", "release-host", "quarantine_release", ids=released)
        site.move(site.newer, "sma/cpq-listener", "sma/delivery-queue", "sma/release-host")
        assert PENDING in lab.cli("esa", "showchanges").out
        assert site.layouts("esa") == (99, 2, 5)
        assert site.layouts("sma") == (99, 2, 5)
        site.move(None, "esa/delivery-queue")
        site.flows(outside)  # the queue is older than what it reads
        site.move(None, "sma/release-host", "sma/cpq-listener", "sma/delivery-queue")
        site.move(None, "esa/gateway", "esa/cpq-listener")
        site.flows(outside)
    check(site, outside)


def test_a_release_that_cannot_follow_is_refused_and_changes_nothing(site: Site) -> None:
    lab, machine = site.lab, site.lab.dir / "esa"
    names = [f"esa/{name}" for name in ("gateway", "cpq-listener", "delivery-queue", "tunnel-client", "console", "web")]
    for name in names:
        lab.signal(name, signal.SIGTERM)
    assert (started := site.start(site.strange, "esa")).status == 0, started
    lab.hold()
    for name in names:
        lab.signal(name, signal.SIGKILL)
    before = files_below(machine)
    for name in names:
        daemon = ran([sys.executable, "-m", "daemons.gatepost", "run", name[4:], "--config", str(lab.config("esa"))])
        assert daemon.status == 78, daemon
        [line] = daemon.err.splitlines()
        for word in ("release 99.2", "journal 2 (here 1)", "queue 5 (here 4)", "install the newer release again"):
            assert word in line
    assert files_below(machine) == before
    assert (started := site.start(site.strange, "esa")).status == 0, started
    to = lab.address()
    lab.send([to], b"Subject: after all\r\n\r\nbody\r\n")
    lab.wait_delivered(to)


def check(site: Site, outside: Outside) -> None:
    """Wait until everything is somewhere, release what is held, and count."""
    lab, everything = site.lab, outside.taken | site.queued

    def seen() -> set[str]:
        return lab.counted().keys() | {row["recipients"][0] for row in lab.held()}

    eventually(lambda: not everything - seen(), "all that was accepted is delivered or held", within_s=120)
    ids = [row["id"] for row in lab.held()]
    for start in range(0, len(ids), 100):
        lab.control("sma", "release-host", "quarantine_release", ids=ids[start : start + 100])
    eventually(lambda: not everything - lab.counted().keys(), "all that was accepted is delivered", within_s=120)
    eventually(lambda: not lab.held(), "the quarantine is empty")
    doubled = {name for name, count in lab.counted().items() if count > 1}
    print(f"{len(everything)} messages, {len(outside.uncertain)} sent again by their host, {len(doubled)} twice")
    assert doubled <= outside.uncertain
