"""A recorder as a process of its own that may be killed: records numbered lines for ever into a directory.

Prints the number of a line once it is on the disk.
"""

import asyncio
import sys
from pathlib import Path

from core import runtime
from tunnel.audit import AuditLog
from tunnel.config import RecordingSection
from tunnel.recording.recorder import Recorder
from tunnel.recording.subject import Subject


async def main(folder: Path) -> int:
    audit = AuditLog(folder / "log" / "audit.jsonl")
    recorder = Recorder(folder / "recordings", audit, RecordingSection(recording_reserve=0))
    recording = recorder.open(Subject(session="s1", serial="sn-1"))
    number = 0
    while True:
        for _ in range(20):
            number += 1
            recording.output(f"line {number}\r\n".encode())
            await asyncio.sleep(0)
        await recorder.flush()
        print(number, flush=True)


if __name__ == "__main__":
    sys.exit(runtime.run(main(Path(sys.argv[1]))))
