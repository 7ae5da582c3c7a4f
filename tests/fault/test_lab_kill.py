"""Every daemon of a whole lab is killed at random while mail flows, is held and is released.

Nothing that was answered 250 is lost; each message that is held is in the central quarantine exactly once; a message
arrives at the outside mail host once, plus at most once more for each connection to that host that was open when the
delivery queue of the gateway was killed (it is stopped first, so that the number is exact). GATEPOST_LONG=1 kills 200
times; LAB_KILL_SEED repeats the order.
"""

import contextlib
import os
import random
import signal
import smtplib
import time
from pathlib import Path

import pytest

from tests.support.lab import Lab, running_lab
from tests.support.long import either
from tests.support.senders import Senders, message, recipient
from tests.support.waiting import eventually

KILLS = either(8, 200)
NETS = ("127.41", "127.42", "127.43", "127.44")
CARRIERS = ("gateway", "delivery-queue", "cpq-listener", "release-host")
"""They get three of four kills."""
OUTSIDE = ("lab/dns", "lab/mailhost")
ESTABLISHED = "01"
HOSTS = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(180, 3000))]


class Outside(Senders):
    """Hosts that go on with the next message, whatever became of one."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, HOSTS, 0.04)
        self._number = [0] * HOSTS
        self.plain: set[str] = set()
        self.held: set[str] = set()

    def send_next(self, client: smtplib.SMTP, host: int) -> None:
        self._number[host] += 1
        number = self._number[host]
        to = recipient(host, number)
        client.sendmail("outside@sender.test", [to], message(to, number % 50))
        (self.plain if to.startswith("plain") else self.held).add(to)


def open_to(place: str) -> int:
    """Count the connections to a `host:port` of loopback."""
    host, _, port = place.rpartition(":")
    octets = "".join(f"{int(part):02X}" for part in reversed(host.split(".")))
    remote = f"{octets}:{int(port):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == remote and row[3] == ESTABLISHED for row in rows)


def kill(lab: Lab, name: str) -> int:
    """Stop a daemon, count what it had open to the mail host, and kill it."""
    (pid,) = lab.facts["pids"][name]
    os.kill(pid, signal.SIGSTOP)
    in_flight = open_to(lab.place("mailhost", "smtp")) if name == "esa/delivery-queue" else 0
    lab.signal(name, signal.SIGKILL)
    return in_flight


def release(lab: Lab, chance: random.Random) -> None:
    """Release some of what is held; the daemon that is asked may be down."""
    with contextlib.suppress(OSError, AssertionError, ValueError):
        ids = [row["id"] for row in lab.control("sma", "release-host", "quarantine_list", limit=100)["messages"]]
        lab.control("sma", "release-host", "quarantine_release", ids=chance.sample(ids, len(ids) // 3))


def test_every_daemon_is_killed_at_random_and_no_mail_is_lost_or_held_twice() -> None:
    seed = int(os.environ.get("LAB_KILL_SEED") or random.randrange(1 << 32))
    print(f"LAB_KILL_SEED={seed}")
    chance, bound, began = random.Random(seed), 0, time.monotonic()
    with running_lab(*NETS) as lab:
        names = [name for name in lab.facts["pids"] if name not in OUTSIDE]
        often = [name for name in names if name.split("/")[1] in CARRIERS and "bastion" not in name]
        order = [name for _ in range(KILLS) for name in (*chance.sample(often, 3), chance.choice(names))]
        with Outside(lab) as senders:
            for name in order[:KILLS]:
                time.sleep(chance.uniform(0, 0.6))
                release(lab, chance)
                bound += kill(lab, name)
                lab.start(name)
            eventually(lambda: len(senders.held) > 5, "some mail is held")
        check(lab, senders, bound, f"{KILLS} kills in {time.monotonic() - began:.0f} s")


def check(lab: Lab, senders: Outside, bound: int, did: str) -> None:
    """Wait until everything is somewhere, release what is held, and count."""
    everything = senders.plain | senders.held

    def seen() -> set[str]:
        return lab.counted().keys() | {row["recipients"][0] for row in lab.held()}

    eventually(lambda: not everything - seen(), "all that was accepted is delivered or held", within_s=120)
    held = [row["recipients"][0] for row in lab.held()]
    assert len(set(held)) == len(held), "a message is in the quarantine twice"
    ids = [row["id"] for row in lab.held()]
    for start in range(0, len(ids), 100):
        lab.control("sma", "release-host", "quarantine_release", ids=ids[start : start + 100])
    eventually(lambda: not everything - lab.counted().keys(), "all that was accepted is delivered", within_s=120)
    assert not lab.held(), "what was released is held again"
    copies = lab.counted()
    repeats = sum(count - 1 for count in copies.values())
    print(f"{did}: {len(senders.plain)} plain, {len(senders.held)} held, {repeats} repeats, bound {bound}")
    assert {name for name in copies if name not in everything and copies[name] > 1} == set()
    assert repeats <= bound
