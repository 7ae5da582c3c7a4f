"""The lab's commands: `demo`, `up`, `down`, `kill`, `start`, `send`; in containers `make`, `join`, `demo --at`."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from core.errors import EX_OK, EX_SOFTWARE
from core.runtime import run
from ops.lab.build import Lab, read_facts
from ops.lab.corpus import LINE_END
from ops.lab.layout import Layout
from ops.lab.progress import say
from ops.lab.sender import Letter, send_all

_INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended."""


def demo(directory: Path | None, net: str, count: int) -> int:
    """Bring a lab up, run the main job, take it down; 0 only if all of it holds."""
    from ops.lab.demo import Demo

    async def main(folder: Path) -> int:
        began = time.monotonic()
        lab = Lab(Layout.of(folder, net))
        print("Gatepost lab: a mail gateway, a management host, a bastion and the world outside")
        await lab.up(lambda text: say(f"up: {text}"))
        try:
            good = await Demo(lab, count).run()
        finally:
            await lab.down()
        status = _concluded(good, began)
        if not good:
            print("  look again with: gatepost lab up --dir lab; the logs are in lab/log")
        return status

    if directory is not None:
        return _interruptible(main(directory))
    with tempfile.TemporaryDirectory(prefix="gatepost-lab-") as name:
        return _interruptible(main(Path(name)))


def demo_at(directory: Path, count: int) -> int:
    """Run the main job on a lab in containers that is up; 0 only if all of it holds."""
    from ops.lab.contained import Contained
    from ops.lab.demo import Demo

    async def main() -> int:
        began = time.monotonic()
        lab = Contained(directory)
        await lab.certify()
        print("Gatepost lab: two mail gateways, a management host, a bastion and the world outside, in containers")
        return _concluded(await Demo(lab, count).run(), began)

    return run(main())


def _concluded(good: bool, began: float) -> int:
    print(f"\n  {'all of it holds' if good else 'NOT as it must be'} ({time.monotonic() - began:.0f} s)")
    return EX_OK if good else EX_SOFTWARE


def make(directory: Path, database: str) -> int:
    """Make the folders of a lab's containers."""
    from ops.lab.contained import make

    make(directory, database, say)
    return EX_OK


def join(directory: Path) -> int:
    """Make a lab of containers that run."""
    from ops.lab.contained import Contained

    async def main() -> int:
        await Contained(directory).join(say)
        return EX_OK

    return run(main())


def up(directory: Path, net: str) -> int:
    """Bring a lab up and leave it running."""

    async def main() -> int:
        lab = Lab(Layout.of(directory, net))
        await lab.up(say)
        say(f"up; its facts are in {lab.layout.dir / 'lab.json'}; stop it with: gatepost lab down --dir {directory}")
        return EX_OK

    return _interruptible(main())


def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Run what takes down by itself what it started; after Ctrl-C, say that it did."""
    try:
        return run(work)
    except KeyboardInterrupt:
        print("\n  interrupted; everything is taken down")
        return _INTERRUPTED


def down(directory: Path) -> int:
    """Stop everything that a lab started."""

    async def main() -> int:
        await Lab(_layout(directory)).load().down()
        return EX_OK

    return run(main())


def kill(directory: Path, name: str) -> int:
    """Kill a daemon or a machine of a lab, with SIGKILL."""

    async def main() -> int:
        await Lab(_layout(directory)).load().kill(name)
        return EX_OK

    return run(main())


def start(directory: Path, name: str) -> int:
    """Start a daemon or a machine of a lab again, and wait until it is ready."""

    async def main() -> int:
        lab = Lab(_layout(directory)).load()
        names = lab.start(name)
        lab.save()
        await lab.wait(names)
        return EX_OK

    return run(main())


def send(directory: Path, sender: str, recipients: list[str]) -> int:
    """Send the message on standard input to the lab's ESA, as a client from outside."""

    async def main() -> int:
        facts = Lab(_layout(directory)).load().facts
        host, _, port = facts["esa"]["smtp"].rpartition(":")
        content = LINE_END.sub(b"\r\n", await asyncio.to_thread(sys.stdin.buffer.read))
        await send_all(host, int(port), [Letter(sender, recipients, content)], lambda: None, connections=1)
        say(f"accepted by {host}:{port}")
        return EX_OK

    return run(main())


def _layout(directory: Path) -> Layout:
    """Read back the layout of a lab that is up."""
    return Layout.read(directory, read_facts(directory))
