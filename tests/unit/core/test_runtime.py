"""A daemon starts, says so, answers, stops in two stages and leaves the right exit status."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import weakref
from pathlib import Path

import pytest

from core import runtime
from core.control import call

ROOT = Path(__file__).parents[3]
PRELUDE = """
import asyncio, sys
from pathlib import Path
from core.errors import GatepostError
from core.runtime import Daemon, run_daemon
RUN = Path(sys.argv[1])
"""


class Started(subprocess.Popen[str]):
    """A process that does not outlive its test, nor keeps one that failed from its end."""

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)  # type: ignore[arg-type]


def start(tmp_path: Path, body: str, **environment: str) -> Started:
    return Started(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(body), str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def said_until(tmp_path: Path, body: str, status: int) -> str:
    """Run a process to its end, which is to have this status; give what it wrote."""
    with start(tmp_path, body) as process:
        assert process.wait(30) == status
        return process.stderr.read()


WAITS = """
class Waits:
    name = "waits"
    async def run(self, scope):
        scope.ready()
        await scope.stopping.wait()
sys.exit(run_daemon(Daemon("sample", [Waits()], RUN / "sample.sock")))
"""


def notifications(tmp_path: Path) -> tuple[socket.socket, str]:
    path = str(tmp_path / "notify")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.settimeout(30)
    return sock, path


def heard_until(sock: socket.socket, last: str) -> list[str]:
    """Give what the service manager is told, up to a message."""
    heard = []
    while last not in heard:
        heard.append(sock.recv(999).decode())
    return heard


async def test_ready_watchdog_stopping_and_a_clean_exit(tmp_path: Path) -> None:
    sock, path = notifications(tmp_path)
    with sock, start(tmp_path, WAITS, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000") as process:
        heard_until(sock, "READY=1")
        heard_until(sock, "WATCHDOG=1")
        health = await call(tmp_path / "sample.sock", "health")
        assert health["state"] == "ready"
        assert health["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        heard_until(sock, "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000")
        assert process.wait(30) == 0
    assert not (tmp_path / "sample.sock").exists()


async def test_what_services_say_of_themselves_is_part_of_the_health(tmp_path: Path) -> None:
    body = """
    from core.condition import Concern, Condition, Figure
    class Tells:
        name = "tells"
        async def run(self, scope):
            scope.ready()
            await scope.stopping.wait()
        def condition(self):
            return Condition((Concern("spool", True, "no room"),), (Figure("shelves", 3, {"kind": "full"}),))
    sys.exit(run_daemon(Daemon("sample", [Tells()], RUN / "sample.sock")))
    """
    sock, path = notifications(tmp_path)
    with sock, start(tmp_path, body, NOTIFY_SOCKET=path) as process:
        heard_until(sock, "READY=1")
        health = await call(tmp_path / "sample.sock", "health")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert health["concerns"] == [{"check": "spool", "grave": True, "text": "no room"}]
    assert health["figures"] == [{"name": "shelves", "value": 3, "labels": {"kind": "full"}}]
    assert 0 <= time.time() - health["started_at"] < 60
    assert health["process"]["memory_bytes"] > 1 << 20
    assert 0 < health["process"]["open_files"] < health["process"]["open_files_limit"]


async def test_a_second_one_of_its_kind_is_told_to_try_later(tmp_path: Path) -> None:
    sock, path = notifications(tmp_path)
    with sock, start(tmp_path, WAITS, NOTIFY_SOCKET=path) as first:
        heard_until(sock, "READY=1")
        with start(tmp_path, WAITS) as second:
            assert second.wait(30) == 75
            assert "already running" in second.stderr.read()
        first.send_signal(signal.SIGINT)
        assert first.wait(30) == 0


def test_what_did_not_stop_in_time_is_named(tmp_path: Path) -> None:
    body = """
    class Stubborn:
        name = "stubborn"
        async def run(self, scope):
            with scope.activity("counting sheep"):
                asyncio.get_running_loop().call_soon(scope.stopping.set)
                await asyncio.sleep(3600)
    sys.exit(run_daemon(Daemon("sample", [Stubborn()], RUN / "sample.sock", grace_s=0.1)))
    """
    assert "stubborn did not stop in time; busy with: counting sheep" in said_until(tmp_path, body, 0)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [("GatepostError('no room', 75)", 75, "no room"), ("ValueError('odd')", 70, "ValueError: odd")],
)
def test_a_service_that_fails_ends_the_daemon(tmp_path: Path, error: str, status: int, words: str) -> None:
    body = f"""
    class Fails:
        name = "fails"
        async def run(self, scope):
            raise {error}
    class Waits:
        name = "waits"
        async def run(self, scope):
            await asyncio.sleep(3600)
    sys.exit(run_daemon(Daemon("sample", [Fails(), Waits()], RUN / "sample.sock")))
    """
    assert words in said_until(tmp_path, body, status)


async def test_tasks_of_a_service_end_with_it(tmp_path: Path) -> None:
    from core.lifecycle import Activities, Scope, Signals, run_service

    ended = asyncio.Event()

    class Starts:
        name = "starts"

        async def run(self, scope: Scope) -> None:
            async def endless() -> None:
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended.set()

            scope.start(endless(), name="endless")
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await run_service(Starts(), Signals(["starts"]), Activities())
    assert ended.is_set()


def test_what_takes_long_to_look_at_is_not_looked_at_again(tmp_path: Path) -> None:
    body = """
    import gc, os
    import core.runtime
    core.runtime._LONGEST_LOOK_S = -1.0
    class Looks:
        name = "looks"
        async def run(self, scope):
            scope.ready()
            assert gc.isenabled()
            kept = [[number] for number in range(1000)]
            gc.collect()
            assert not any(one is kept for one in gc.get_objects())
            for _ in range(core.runtime._MOST_FREEZES):
                gc.collect()
            later = [[number] for number in range(1000)]
            gc.collect()
            assert any(one is later for one in gc.get_objects())
            cycle = []
            cycle.append(cycle)
            del cycle
            assert gc.collect() == 1
            os._exit(7)
    sys.exit(run_daemon(Daemon("sample", [Looks()], RUN / "sample.sock")))
    """
    with start(tmp_path, body) as process:
        assert process.wait(30) == 7, process.stderr.read() if process.stderr else ""


def test_a_daemon_had_the_usual_thousand_descriptors_whatever_the_system_allows(tmp_path: Path) -> None:
    body = """
    import resource
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
    class Tells:
        name = "tells"
        async def run(self, scope):
            raise GatepostError(f"all of them: {resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)}", 69)
    sys.exit(run_daemon(Daemon("sample", [Tells()], RUN / "sample.sock")))
    """
    assert "all of them: True" in said_until(tmp_path, body, 69)


def test_what_was_spared_while_it_was_used_is_freed_once_it_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    monkeypatch.setattr(runtime, "_LONGEST_LOOK_S", -1.0)  # every look takes too long
    patience = runtime._Patience(0.001)
    one = Cycle()
    gone = weakref.ref(one)
    gc.callbacks.append(patience.looked)
    try:
        gc.collect()  # while it is in use
        del one
        deadline = time.monotonic() + 30
        while gone() is not None and time.monotonic() < deadline:
            gc.collect()
    finally:
        gc.callbacks.remove(patience.looked)
        gc.unfreeze()
    assert gone() is None


TELLS = """
import os, time
from core.condition import Concern, Condition, Stall
STUCK = RUN / "stuck"
class Tells:
    name = "tells"
    async def run(self, scope):
        while not (RUN / "go").exists():
            await asyncio.sleep(0.01)
        scope.ready()
        with scope.activity("the last letter"):
            await scope.stopping.wait()
            while not (RUN / "gone").exists():
                await asyncio.sleep(0.01)
    def condition(self):
        (RUN / "asked").touch()
        if (RUN / "broken").exists():
            raise ValueError("odd")
        return Condition((Concern("spool", True, "no room"),), (), (Stall("one write", STUCK.exists() * 99.0),))
sys.exit(run_daemon(Daemon("sample", [Tells()], RUN / "sample.sock", grace_s=60)))
"""


def test_its_status_says_what_is_waited_for_what_is_wrong_and_what_keeps_it(tmp_path: Path) -> None:
    sock, path = notifications(tmp_path)
    with sock, start(tmp_path, TELLS, NOTIFY_SOCKET=path, WATCHDOG_USEC="400000") as process:
        heard_until(sock, "STATUS=starting, waiting for: tells")
        assert not (tmp_path / "asked").exists(), "a service that does not work yet is not asked"
        (tmp_path / "go").touch()
        heard_until(sock, "READY=1")
        heard_until(sock, "STATUS=ready; no room")
        (tmp_path / "broken").touch()
        heard_until(sock, "STATUS=ready")
        process.send_signal(signal.SIGTERM)
        heard_until(sock, "STATUS=stopping, busy with: the last letter")
        heard_until(sock, "WATCHDOG=1")
        (tmp_path / "gone").touch()
        assert process.wait(20) == 0
        assert "condition: incident" in process.stderr.read()


def test_a_thread_that_stands_still_gives_no_sign_of_life_until_it_gets_on(tmp_path: Path) -> None:
    sock, path = notifications(tmp_path)
    (tmp_path / "go").touch()
    (tmp_path / "gone").touch()
    with sock, start(tmp_path, TELLS, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000") as process:
        heard_until(sock, "READY=1")
        heard_until(sock, "WATCHDOG=1")
        (tmp_path / "stuck").touch()
        heard_until(sock, "STATUS=ready, but one write does not end; is the disk alive?")
        sock.settimeout(1)
        with pytest.raises(TimeoutError):  # five periods of the watchdog
            sock.recv(999)
        sock.settimeout(30)
        (tmp_path / "stuck").unlink()
        heard_until(sock, "WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        said = process.stderr.read()
    assert said.count("sample: one write does not end") == 1
    assert "sample: what stood still gets on again" in said


def test_a_watchdog_that_is_another_process_s_is_told_nothing(tmp_path: Path) -> None:
    sock, path = notifications(tmp_path)
    with sock, start(tmp_path, WAITS, NOTIFY_SOCKET=path, WATCHDOG_USEC="20000", WATCHDOG_PID="1") as process:
        heard_until(sock, "READY=1")
        process.send_signal(signal.SIGTERM)
        heard = heard_until(sock, "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000")
        assert process.wait(30) == 0
    assert "WATCHDOG=1" not in heard


@pytest.mark.parametrize(("does", "longer"), [("sum(range(40_000))", True), ("time.sleep(0.01)", False)])
def test_a_start_is_prolonged_while_it_works_and_not_while_it_waits(tmp_path: Path, does: str, longer: bool) -> None:
    body = f"""
    import time
    from core.service_manager import ServiceManager
    manager = ServiceManager()
    manager.begin()
    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        {does}
    class Waits:
        name = "waits"
        async def run(self, scope):
            scope.ready()
            await scope.stopping.wait()
    sys.exit(run_daemon(Daemon("sample", [Waits()], RUN / "sample.sock"), manager))
    """
    sock, path = notifications(tmp_path)
    with sock, start(tmp_path, body, NOTIFY_SOCKET=path) as process:
        assert sock.recv(99) == b"STATUS=starting"
        heard = heard_until(sock, "READY=1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert ("EXTEND_TIMEOUT_USEC=30000000" in heard) is longer


HANGS = {
    "a thread that the loop waits for": "asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)",
    "a thread that Python waits for": "threading.Thread(target=time.sleep, args=[3600]).start()",
    "a task that does not let itself be cancelled": "scope.start(stays(), name='stays')",
}


@pytest.mark.parametrize(
    ("hang", "fails"),
    [
        pytest.param(hang, fails, id=f"{name}, {'failing' if fails else 'told to stop'}")
        for name, hang in HANGS.items()
        for fails in (False, True)
        if "thread" in name or not fails
    ],
)
def test_what_never_ends_kept_the_process_for_ever(tmp_path: Path, hang: str, fails: bool) -> None:
    body = f"""
    import threading, time
    from core import runtime
    runtime._LAST_WRITES_S = 0.5
    async def stays():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
    class Hangs:
        name = "hangs"
        async def run(self, scope):
            {hang}
            await asyncio.sleep(0.05)
            scope.ready()
            if {fails}:
                raise GatepostError("no room", 75)
            asyncio.get_running_loop().call_soon(scope.stopping.set)
            await scope.stopping.wait()
    sys.exit(run_daemon(Daemon("sample", [Hangs()], RUN / "sample.sock", grace_s=0.2)))
    """
    said = said_until(tmp_path, body, 70)
    assert "sample: did not come to its end in time and is ended" in said
    assert "most recent call first" in said


def test_two_signals_at_once_cut_the_grace_short_and_a_third_is_no_fault(tmp_path: Path) -> None:
    body = """
    import os, signal
    class Stubborn:
        name = "stubborn"
        async def run(self, scope):
            scope.ready()
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(3600)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(0.2)
    sys.exit(run_daemon(Daemon("sample", [Stubborn()], RUN / "sample.sock", grace_s=600)))
    """
    said = said_until(tmp_path, body, 0)
    assert "stubborn did not stop in time" in said
    assert "Traceback" not in said


async def test_a_storm_of_hangups_made_as_many_tasks_and_reads(tmp_path: Path) -> None:
    body = """
    import os, signal
    from core.switch import Prepared, Switch
    reads = 0
    async def prepare(file):
        global reads
        reads += 1
        await asyncio.sleep(0.05)
        return Prepared()
    class Storm:
        name = "storm"
        async def run(self, scope):
            scope.ready()
            for _ in range(500):
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.sleep(0)
            while len(asyncio.all_tasks()) > 5:
                await asyncio.sleep(0.01)
            raise GatepostError(f"reads: {reads}", 69)
    config = RUN / "c.toml"
    config.write_text("")
    sys.exit(run_daemon(Daemon("sample", [Storm()], RUN / "sample.sock", switch=Switch(config, "", prepare))))
    """
    with start(tmp_path, body) as process:
        assert process.wait(60) == 69
        reads = int(process.stderr.read().rpartition("reads: ")[2])
    assert 1 <= reads <= 100
