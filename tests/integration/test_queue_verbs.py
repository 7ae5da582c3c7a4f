"""The verbs over the queue as an operator uses them: the executable and its dialogues, on real daemons, with a
destination that is dead and has thousands of messages."""

import asyncio
import json
import smtplib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_delivery_tables import Gateway, outside_host
from tests.support.lab import Lab, Ran, gatepost, short_folder
from tests.support.need import needs
from tests.support.waiting import until

pytestmark = pytest.mark.slow
MANY = 2000
DEAD = "".join(
    f'[[route]]\ndomain = "{name}.test"\nhosts = ["127.38.9.{n}:9"]\n' for n, name in enumerate(("dead", "gone"), 8)
)


class Console:
    """One machine and its `gatepost cli`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.config = str(gateway.dir / "gatepost.toml")

    async def batch(self, *words: str) -> Ran:
        return await asyncio.to_thread(gatepost, "cli", "--config", self.config, *words)

    async def document(self, *words: str) -> Any:
        ran = await self.batch(*words, "--json")
        assert ran.status == 0, ran
        return json.loads(ran.out)

    async def dialogue(self, *lines: str) -> str:
        ran = await asyncio.to_thread(
            gatepost, "cli", "--config", self.config, stdin="".join(f"{line}\n" for line in lines)
        )
        return ran.out

    async def active(self, host: str) -> int:
        hosts = (await self.gateway.ask("tophosts", limit=1000))["hosts"]
        return next((int(one["active_recipients"]) for one in hosts if one["host"] == host), 0)


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    with short_folder() as folder:
        gateway = Gateway(folder / "esa")
        gateway.configure(DEAD)
        await gateway.start()
        yield Console(gateway)
        await gateway.kill()


def send(port: int, letters: list[tuple[str, list[str], str]]) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=30) as client:
        for sender, recipients, subject in letters:
            client.sendmail(sender, recipients, f"Subject: {subject}\r\n\r\nFrom the body\r\n")


async def fill(console: Console, *letters: tuple[str, list[str], str]) -> None:
    await asyncio.to_thread(send, console.gateway.port, list(letters))


async def test_thousands_for_a_dead_host_are_counted_deleted_bounced_and_sent_elsewhere(console: Console) -> None:
    await fill(
        console,
        *[(f"s{n % 5}@here.test", [f"r{n}@dead.test"], "bulk" if n % 2 else "news") for n in range(MANY)],
        ("ann@here.test", ["x@gone.test"], "one of its own"),
    )
    await until(lambda: _is(console, "dead.test", MANY), "all queued")

    refused = await console.batch("deleterecipients", "--host", "dead.test")
    assert (refused.status, "say --yes" in refused.err) == (64, True)
    faulty = await console.batch("deleterecipients", "--filter", "colour == 'red'", "--dry-run")
    assert (faulty.status, "there is no rule 'colour'" in faulty.err) == (65, True)
    dry = await console.document("deleterecipients", "--filter", "subject == 'bulk'", "--dry-run")
    assert (dry["messages"], dry["recipients"] + dry["busy"]) == (MANY // 2, MANY // 2)
    by_sender = await console.document("deleterecipients", "--sender", "s0@", "--yes")
    assert by_sender["recipients"] + by_sender["busy"] == MANY // 5

    pages = await console.document("showrecipients", "--host", "dead.test", "--limit", "1000")
    rest = await console.document("showrecipients", "--host", "dead.test", "--after", pages["next"])
    mids = [row["mid"] for row in pages["recipients"] + rest["recipients"]]
    assert len(mids) == len(set(mids)) == await console.active("dead.test")
    assert rest["next"] is None

    shown = await console.dialogue("deleterecipients", "4", "subject == 'bulk'", "y")
    assert "Are you sure you want to delete all messages that match subject == 'bulk'? [N]>" in shown
    assert "messages deleted." in shown
    bounced = await console.document("bouncerecipients", "--sender", "s2@here.test", "--yes")
    assert bounced["recipients"] > 0

    left = await console.active("dead.test")
    async with outside_host() as host:
        moved = await console.document("redirectrecipients", f"127.0.0.1:{host.port}", "--host", "dead.test", "--yes")
        assert moved["recipients"] + moved["busy"] == left
        await until(lambda: len(host.seen) >= moved["recipients"], "all redirected", within_s=60)
        assert len(host.seen) == len({one.recipients for one in host.seen})
    await until(lambda: _delivered(console, f"[127.0.0.1]:{host.port}", moved["recipients"]), "all are counted")
    assert await console.active("gone.test") == 1
    unknown = await console.batch("hoststatus", "nowhere.test")
    assert (unknown.status, unknown.err) == (66, "gatepost: nowhere.test: no mail has been queued for this host\n")


async def _delivered(console: Console, host: str, n: int) -> bool:
    return bool((await console.gateway.ask("hoststatus", host=host))["counters"]["delivered_recips"] == n)


async def _is(console: Console, host: str, n: int) -> bool:
    return await console.active(host) == n


async def test_delivery_to_one_domain_is_suspended_over_a_restart_while_the_others_go_on(console: Console) -> None:
    async with outside_host() as host:
        console.gateway.configure(f'[[route]]\ndomain = "ALL"\nhosts = ["127.0.0.1:{host.port}"]\n')
        await console.gateway.restart("delivery-queue")
        assert "Mail delivery suspended for: held.test." in (await console.batch("suspenddel", "Held.test")).out
        await console.gateway.restart("delivery-queue")
        await fill(console, ("a@here.test", ["x@held.test"], "s"), ("a@here.test", ["y@free.test"], "s"))
        await until(lambda: host.of("y@free.test"), "the other domain goes on")
        await asyncio.sleep(0.5)
        assert not host.of("x@held.test")
        await until(lambda: _is(console, "held.test", 1), "the held one is queued")
        assert "suspend" in (await console.document("hoststatus", "held.test"))["limiting_rule"]
        await until(lambda: "Deliveries are currently suspended [held.test]" in console.gateway.log())
        assert "Mail delivery resumed." in (await console.batch("resumedel")).out
        await until(lambda: host.of("x@held.test"), "resumed")


async def test_one_message_is_shown_archived_and_removed(console: Console) -> None:
    await fill(console, ("ann@here.test", ["x@dead.test"], "\x1b[2Jlook"))
    await until(lambda: _is(console, "dead.test", 1), "queued")
    oldest = await console.document("oldmessage")
    mid = oldest["mid"]
    assert "look" in oldest["headers"]
    shown = await console.batch("showmessage", mid)
    assert "From the body" in shown.out
    assert "\x1b" not in shown.out
    path = Path((await console.document("archivemessage", mid))["path"])
    assert path == console.gateway.dir / "configuration" / f"oldmessage_{mid}.mbox"
    assert path.read_bytes().startswith(b"From ann@here.test ")
    assert b"\n>From the body\n" in path.read_bytes()
    now = await console.document("delivernow", "dead.test")
    assert now["recipients"] <= 1
    await until(lambda: _removed(console, mid), "removed")
    assert await console.active("dead.test") == 0
    assert (await console.batch("showmessage", mid)).status == 66
    assert (await console.batch("resetcounters")).out.startswith("Counters reset: ")
    assert (await console.document("status"))["counters"]["deleted_recips"]["reset"] == 0


async def _removed(console: Console, mid: str) -> bool:
    ran = await console.batch("removemessage", mid, "--yes")
    assert ran.status in (0, 75), ran
    return ran.status == 0


@needs("ssh", "ssh-keygen")
def test_the_verbs_answer_over_ssh_as_command_and_as_dialogue(standing_lab: Lab) -> None:
    dry = standing_lab.ssh("esa", "deleterecipients", "--all", "--dry-run", "--json").document
    assert (dry["dry_run"], dry["state"]) == (True, "done")
    assert standing_lab.ssh("esa", "deleterecipients", "--all").status == 64
    for host in ("the.cpq.host", "the.hold.queue"):
        assert standing_lab.ssh("esa", "hoststatus", host, "--json").document["host"] == host
    shown = standing_lab.ssh("esa", stdin="bouncerecipients\n1\nnowhere.test\nworkqueue\n\nexit\n").out
    assert "Please select how you would like to bounce messages:" in shown
    assert 'No messages being delivered to "nowhere.test".' in shown
    assert "Status:   Operational" in shown
    assert "- PAUSE - Pause the work queue." in shown
    standing_lab.wait_settled("sma")
    released = standing_lab.ssh("sma", "hoststatus", "the.cpq.release.host", "--json").document
    assert released["gauges"]["active_recips"] == 0


async def test_deleting_is_finished_in_time_and_survives_a_kill(console: Console) -> None:
    await fill(console, *[("s@here.test", [f"r{n}.{m}@dead.test" for m in range(50)], "x") for n in range(100)])
    await until(lambda: _is(console, "dead.test", 5000), "queued")
    began = time.monotonic()
    done = await console.document("deleterecipients", "--host", "dead.test", "--yes")
    assert time.monotonic() - began < 30
    await console.gateway.restart("delivery-queue")  # SIGKILL
    await until(lambda: _is(console, "dead.test", done["busy"]), "what was deleted stays deleted")


async def test_a_paused_work_queue_takes_mail_keeps_it_over_a_kill_and_runs_it_in_order(console: Console) -> None:
    async with outside_host() as host:
        console.gateway.configure(f'[[route]]\ndomain = "ALL"\nhosts = ["127.0.0.1:{host.port}"]\n')
        await console.gateway.restart("delivery-queue")
        assert (await console.batch("workqueue", "pause", "why")).status == 64
        paused = await console.dialogue("workqueue", "pause", "y", "upgrade of the scanner", "", "quit")
        assert "Manually pause work queue? This will only affect unprocessed messages. [N]>" in paused
        assert "Status:   Paused by local: upgrade of the scanner" in paused
        await fill(console, *[("a@here.test", [f"r{n}@there.test"], f"n{n}") for n in range(20)])
        await until(lambda: "To: <r19@there.test>" in console.gateway.log(), "the log is written five times a second")
        await console.gateway.restart("gateway")
        await fill(console, ("a@here.test", ["big@there.test"], "big"), ("a@here.test", ["z@there.test"], "last"))
        status = await console.document("workqueue", "status")
        assert (status["status"], status["messages"], status["reason"]) == ("Paused", 22, "upgrade of the scanner")
        assert not host.seen
        log = console.gateway.log()
        mid = next(line for line in log.splitlines() if "To: <r3@there.test>" in line).split("MID ")[1].split()[0]
        assert "From the body" in (await console.batch("showmessage", mid)).out
        assert (await console.batch("removemessage", mid, "--yes")).out == f"MID {mid} removed (1 recipient).\n"
        assert (await console.document("workqueue", "resume"))["status"] == "Operational"
        await until(lambda: len(host.seen) == 21, "all went through")
        assert not host.of("r3@there.test")
        await until(lambda: console.gateway.log().count("queued for") == 21, "the log is written")
        queued = [
            line.split("MID ")[1].split()[0] for line in console.gateway.log().splitlines() if "queued for" in line
        ]
        assert queued == sorted(queued, key=int)
        assert (await console.document("workqueue", "rate", "1"))["samples"][0]["pending"] == 0
