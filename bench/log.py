"""Measure what share of a message's CPU its log lines take: `python -m bench.log [--messages 6000] [--rounds 3]`.

A gateway and its delivery queue pass 4 KiB messages from smtp-source to smtp-sink, as in the case 4k-kept-20; that
gives CPU per message, and the log the lines of a message. Then the same lines are made and written in this process, as
the daemons do it: text put together from its parts and cleaned, time stamp, batches of what comes in 200 ms, a real
file on the same disk that is rolled over at 1 MiB. Bar: 5 %. Quote the share: both halves ran on this machine just now.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.case import Case
from bench.load import measure
from bench.ours import Gatepost
from bench.system import make_keys
from core.log.file import LogFile, head_of
from core.log.sink import Sink
from core.maillog import MailLog, clean

BAR_PERCENT = 5.0
_MESSAGES = 50_000
_BATCH = 800
"""Messages whose lines are flushed together: 4,000 a second, five flushes."""

SENDER, RECIPIENT = "sender@example.test", "user@example.test"
Texts = Callable[[int], list[str]]


def texts_of(mid: int) -> list[str]:
    """Put the lines of one message together as gateway and delivery queue do."""
    icid = dcid = mid // 100
    subject = clean("from<sender@example.test>")
    return [
        f"Start MID {mid} ICID {icid}",
        f"MID {mid} ICID {icid} From: <{clean(SENDER)}>",
        f"MID {mid} ICID {icid} RID 0 To: <{clean(RECIPIENT)}>",
        f"MID {mid} Message-ID '{clean('<0f3a.0004@bench.example.test>')}'",
        f'MID {mid} Subject "{subject}"',
        f"MID {mid} ready 4096 bytes from <{clean(SENDER)}>",
        f"MID {mid} queued for delivery",
        f"Delivery start DCID {dcid} MID {mid} to RID [0]",
        f"Message done DCID {dcid} MID {mid} to RID [0]",
        f"MID {mid} RID [0] Response '{clean('2.0.0 Ok')}'",
        f"Message finished MID {mid} done",
    ]


def cost_us(folder: Path, texts: Texts = texts_of, messages: int = _MESSAGES) -> float:
    """Give the microseconds of CPU for the lines of a message."""
    file = LogFile(folder / "mail.current", head=head_of("bench", "bench"), max_bytes=1 << 20, keep=3)
    log = MailLog.over([Sink(file, 3)])
    begun = time.process_time()
    for mid in range(messages):
        for text in texts(mid):
            log.info(text)
        if mid % _BATCH == 0:
            log.flush()
    log.flush()
    took = time.process_time() - begun
    log.close()
    return 1e6 * took / messages


def lines_per_message(folder: Path, messages: int) -> float:
    """Count the lines that real daemons wrote for each message, those of connections included."""
    text = "".join(file.read_text() for file in (folder / "log" / "mail_logs").iterdir())
    return text.count("\n") / messages


def main() -> int:
    """Run the measurement; 1 when the bar is not kept."""
    parser = argparse.ArgumentParser(prog="bench.log", description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    shares = []
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        keys = make_keys(folder)
        for number in range(args.rounds):
            place = folder / str(number)
            place.mkdir()
            case = Case("4k-kept-20", 4096, 20, args.messages, waves=3)
            system = Gatepost(place, keys)
            message_us = 1000 * measure(case, system, place).cpu_ms_per_message
            lines = lines_per_message(place / "gatepost", args.messages)
            log_us = cost_us(place) * lines / len(texts_of(0))
            shares.append(100 * log_us / message_us)
            print(
                f"round {number + 1}/{args.rounds}: {message_us:6.0f} us CPU a message, {lines:4.1f} log lines, "
                f"which take {log_us:5.1f} us: {shares[-1]:4.1f} %"
            )
    share = statistics.median(shares)
    print(f"median {share:.1f} % of a message's CPU, bar {BAR_PERCENT:g} %")
    return int(share > BAR_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
