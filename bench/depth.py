"""A very deep queue: memory, the start, and the views, with the real delivery-queue on a spool that is filled here.

    python -m bench.depth [--messages 1000000] [--destinations 50000] [--dead refused|silent] [--by index|journal]

All but one destination lead to an address that refuses connections (`refused`), or takes no notice of them
(`silent`: a listener whose backlog is full). One leads to a sink; its mail lies in the middle of the queue. `index`
fills the index before the start: one message of each dead destination was tried an hour ago, everything is due.
`journal` starts the daemon first and has it import everything. Prints the figures and fails (status 1) if one of them
misses its bar. Uses 127.33.0.0/24.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from zlib import crc32

from bench.probe import Probe, ask
from bench.process import end, usage_of
from core.errors import GatepostError
from core.journal import Journal, JournalSettings
from core.record import Accepted, Outcome, Recipient, encode
from core.sqlite import open_database
from mail.queue import store
from mail.queue.store import Change, MessageRow, RecipientRow
from ops.lab.document import appliance_table

HOST = "127.33.0.1"
COMMAND = (sys.executable, "-m", "daemons.gatepost")
BULK = "bulk.test"
"""Where a tenth of the messages come from."""
LIVING = 20
"""Messages for the one destination that answers."""
FIRST_MID = 10_000_000
CONTENT = b"Subject: depth\r\n\r\n" + b"x" * 2000 + b"\r\n"
BARS = {
    "start to first delivery, s": 10.0,
    "resident, MiB": 400.0,
    "tophosts": 200.0,
    "hoststatus": 200.0,
    "deletion of 100,000, s": 30.0,
}
"""By the beginning of a figure's name."""
_TOML = """
[dns]
servers = ["127.0.0.1:9"]

[delivery]
connect_timeout_s = 30

[[route]]
domain = "living.test"
hosts = ["{host}:{sink}"]

[[route]]
domain = "ALL"
hosts = ["{host}:{dead}"]
"""


class Sink(socketserver.StreamRequestHandler):
    """Says yes to everything, one command at a time, and notes when it has a message."""

    arrivals: ClassVar[list[float]] = []

    def handle(self) -> None:
        """Serve one connection."""
        self.wfile.write(b"220 sink\r\n")
        content = False
        for line in self.rfile:
            if content:
                if line == b".\r\n":
                    content = False
                    self.arrivals.append(time.monotonic())
                    self.wfile.write(b"250 ok\r\n")
                continue
            verb = line[:4].upper()
            content = verb == b"DATA"
            self.wfile.write(b"354 go on\r\n" if content else b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


@contextmanager
def listening() -> Iterator[int]:
    """Run the sink; gives its port."""
    Sink.arrivals = []
    with socketserver.ThreadingTCPServer((HOST, 0), Sink) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def dead(kind: str) -> Iterator[int]:
    """Give a port that refuses, or one where nobody ever answers."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((HOST, 0))
        if kind == "silent":
            sock.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(sock.getsockname())
        yield sock.getsockname()[1]


def mail(number: int, destinations: int, messages: int) -> tuple[Accepted, Outcome, str]:
    """Make the records of one message and name its domain; the living ones lie in the middle."""
    half = messages // 2
    domain = "living.test" if half <= number < half + LIVING else f"d{number % destinations}.dead.test"
    bulk = number // destinations % 10 == 3
    mid, sender = FIRST_MID + number, f"user{number % 1000}@{BULK if bulk else 'here.test'}"
    recipient = [Recipient(0, f"someone@{domain}")]
    return Accepted(mid, 1, time.time(), sender, recipient, len(CONTENT)), Outcome(mid, "deliver"), domain


def fill_index(spool: Path, messages: int, destinations: int) -> None:
    """Write the index and one file of content that all messages share."""
    (spool / "queue" / "content").mkdir(parents=True, exist_ok=True)
    database = open_database(spool / "queue" / "queue.db", store.SCHEMA)
    (spool / "queue" / "content" / "1.content").write_bytes(CONTENT)
    crc, size, an_hour_ago = crc32(CONTENT), len(CONTENT), time.time() - 3600
    for start in range(0, messages, 20_000):
        change = Change()
        for number in range(start, min(start + 20_000, messages)):
            accepted, outcome, domain = mail(number, destinations, messages)
            row = (accepted.mid, accepted.sender, encode(accepted), encode(outcome), "", 1, "file", "1.content")
            change.messages.append(MessageRow(*row, 0, size, crc, time.time() + 7200))
            tried = number < destinations and domain != "living.test"
            history = (1, an_hour_ago, "Connection refused", 1) if tried else (0, 0.0, "", 0)
            flow = crc32(accepted.sender.encode())
            bucket = crc32(domain.encode()) & 255
            change.recipients.append(RecipientRow(accepted.mid, 0, bucket, domain, "", *history, 0, flow))
        with database.transaction():
            store.write(database, change)
    database.close()


async def fill_journal(spool: Path, messages: int, destinations: int) -> None:
    """Append everything to the gateway's journal, a thousand at a time, as fast as its backlog allows."""
    journal = Journal.open(spool / "journal" / "gateway-0", JournalSettings(reserve_bytes=0, backlog_bytes=1 << 30))
    loop = asyncio.get_running_loop()
    for start in range(0, messages, 1000):
        waiting = set(range(start, min(start + 1000, messages)))
        while waiting:
            await asyncio.gather(
                *(_append(journal, number, destinations, messages, waiting, loop) for number in waiting)
            )
            if waiting:
                await asyncio.sleep(0.5)
    journal.close()


async def _append(
    journal: Journal, number: int, destinations: int, messages: int, waiting: set[int], loop: asyncio.AbstractEventLoop
) -> None:
    accepted, outcome, _ = mail(number, destinations, messages)
    done: asyncio.Future[Exception | None] = loop.create_future()
    try:
        content = journal.content()
        content.write(CONTENT)
        journal.append(accepted.mid, encode(accepted), content, encode(outcome), done.set_result)
        if await done is None:
            waiting.discard(number)
    except OSError:
        return  # the backlog is full: again a little later


def resident(pid: int) -> tuple[float, float]:
    """Give the memory of a process now, and the most that it ever had, in MiB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024


def until(true: Callable[[], bool], limit_s: float, what: str, step_s: float = 0.05) -> None:
    """Wait for something. Raises `SystemExit` if it does not come about."""
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {what} not within {limit_s:.0f} s")
        time.sleep(step_s)


def run(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Fill, start, measure."""
    machine, figures = folder / "esa", dict[str, float]()
    subprocess.run([*COMMAND, "init", "--role", "esa", "--dir", str(machine)], check=True, capture_output=True)
    dead_host = f"d{min(7, args.destinations - 1)}.dead.test"
    config, control = machine / "gatepost.toml", machine / "run" / "delivery-queue.sock"
    if args.by == "index":
        begun = time.monotonic()
        provide_index(machine / "spool", args)
        print(f"  filled in {time.monotonic() - begun:.0f} s")
    with listening() as sink, dead(args.dead) as port, (folder / "log").open("wb") as log:
        config.write_text(appliance_table(config.read_text()) + _TOML.format(host=HOST, sink=sink, dead=port))
        probe, begun = Probe(control, dead_host), time.monotonic()
        argv = [*COMMAND, "run", "delivery-queue", "--config", str(config)]
        daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        probe.begin()
        try:
            if args.by == "journal":
                import_all(machine / "spool", control, args, figures, begun)
                probe.take("at the import", figures)
            until(lambda: bool(Sink.arrivals), 120, "a delivery to the living destination")
            figures["start to first delivery, s"] = Sink.arrivals[0] - begun
            time.sleep(min(args.watch, 20.0))
            probe.take("in the first seconds", figures)
            time.sleep(max(0.0, args.watch - 20.0))
            probe.take("later", figures)
            figures["all of tophosts, ms"] = ask(control, "tophosts")[0]
            figures["connections, open or tried"] = sockets(daemon.pid)
            if args.delete:
                delete(config, figures)
                probe.take("while deleting", figures)
            probe.end()
            print(f"  hoststatus {dead_host}: {probe.rule}")
            figures["CPU of the daemon, s"] = usage_of({daemon.pid}).cpu_s
            figures["load of the machine"] = os.getloadavg()[0]
            figures["resident, MiB"] = resident(daemon.pid)[1]
            figures["index, MiB"] = (machine / "spool/queue/queue.db").stat().st_size / 2**20
            figures["its log, MiB"] = (machine / "spool/queue/queue.db-wal").stat().st_size / 2**20
        finally:
            begun = time.monotonic()
            end(daemon, 60)
            figures["stop, s"] = time.monotonic() - begun
            print((folder / "log").read_text()[-2000:], end="")
    return figures


def provide_index(spool: Path, args: argparse.Namespace) -> None:
    """Fill the index, or copy one that was filled before with the same numbers."""
    if args.kept is None:
        fill_index(spool, args.messages, args.destinations)
        return
    kept = args.kept / f"{args.messages}-{args.destinations}"
    if not kept.exists():
        fill_index(kept, args.messages, args.destinations)
    shutil.copytree(kept, spool, dirs_exist_ok=True)


def import_all(spool: Path, control: Path, args: argparse.Namespace, figures: dict[str, float], begun: float) -> None:
    """Have the running daemon import everything."""
    until(control.exists, 20, "a control socket")
    asyncio.run(fill_journal(spool, args.messages, args.destinations))
    figures["accepted in, s"] = time.monotonic() - begun
    known = args.messages - LIVING
    until(lambda: _active(control) >= known, 1200, "the import of everything", 0.5)
    figures["imported in, s"] = time.monotonic() - begun


def _active(control: Path) -> int:
    with contextlib.suppress(GatepostError, OSError):
        return int(ask(control, "status")[1]["gauges"]["active_recips"])
    return 0


def sockets(pid: int) -> int:
    """Count the descriptors of a process that are sockets."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(entry).startswith("socket:")
    return count


def delete(config: Path, figures: dict[str, float]) -> None:
    """Have a tenth of the messages deleted, by sender, with the operator's own command."""
    begun = time.monotonic()
    words = ["deleterecipients", "--sender", f"@{BULK}", "--yes", "--json"]
    ran = subprocess.run([*COMMAND, "cli", "--config", str(config), *words], capture_output=True, check=False)
    if ran.returncode:
        raise SystemExit(f"bench: deleterecipients: {ran.stderr.decode()}")
    took, told = time.monotonic() - begun, json.loads(ran.stdout)
    figures["deleted, messages"] = told["messages"]
    figures["deletion, s"] = took
    figures["deletion of 100,000, s"] = took * 100_000 / max(1, told["messages"])


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(prog="bench.depth", description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--destinations", type=int, default=50_000)
    parser.add_argument("--dead", choices=("refused", "silent"), default="refused")
    parser.add_argument("--by", choices=("index", "journal"), default="index")
    parser.add_argument("--watch", type=float, default=60.0, help="seconds to look at the views")
    parser.add_argument("--no-delete", dest="delete", action="store_false", help="delete nothing")
    parser.add_argument("--kept", type=Path, help="a folder where filled indexes are kept and found")
    parser.add_argument("--folder", type=Path, help="where the spool goes (default: a temporary folder)")
    args = parser.parse_args()
    facts = f"{args.messages} messages, {args.destinations} destinations, {args.dead}, by {args.by}"
    print(f"{facts}; load {os.getloadavg()[0]:.1f}")
    folder = Path(tempfile.mkdtemp(prefix="gatepost-depth-", dir=args.folder))
    try:
        figures = run(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bars = {name: bar for name, bar in BARS.items() if args.by == "index" or not name.startswith("start")}
    failed = False
    for name, value in figures.items():
        bar = next((bar for start, bar in bars.items() if name.startswith(start)), None)
        misses = bar is not None and value > bar
        failed = failed or misses
        print(f"  {name:48} {value:10.1f}" + (f"   bar {bar:.0f}{'   MISSED' if misses else ''}" if bar else ""))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
