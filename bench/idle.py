"""Memory of idle SMTP sessions: so many connections that have said EHLO and then nothing, held by one gateway.

    .venv/bin/python -m bench.idle [--sessions 10000] [--tls]

The connections come from a process of their own, this one; each end needs a descriptor, hence a limit of open files
above the number of sessions (`ulimit -n`). Bounded: ends after the measurement, at the latest after three minutes.
"""

import argparse
import asyncio
import resource
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.process import HOST, Usage, end, free_port, usage_of, wait_for_banner

_LISTENER = """
[[listener]]
name = "InboundMail"
address = "{host}"
port = {port}
max_connections = 100000
max_connection_s = 0
success_timeout_s = 0
rat = ["example.test"]

[listener.policy]
max_connections_per_address = 0
"""
_AT_ONCE = 200
_LIMIT_S = 180


def main() -> None:
    """Measure and print one line."""
    arguments = argparse.ArgumentParser(description="Memory of a gateway with idle sessions")
    arguments.add_argument("--sessions", type=int, default=10_000)
    arguments.add_argument("--tls", action="store_true", help="behind STARTTLS")
    chosen = arguments.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < chosen.sessions + 200:
        raise SystemExit(f"{chosen.sessions} sessions need more open files than the {hard} that are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="idle-") as folder:
        print(_measure(Path(folder) / "esa", chosen.sessions, tls=chosen.tls))


def _measure(folder: Path, sessions: int, *, tls: bool) -> str:
    run = [sys.executable, "-m", "daemons.gatepost"]
    subprocess.run([*run, "init", "--role", "esa", "--dir", str(folder)], check=True, capture_output=True)
    config, port = folder / "gatepost.toml", free_port()
    config.write_text(config.read_text() + _LISTENER.format(host=HOST, port=port))
    gateway = subprocess.Popen([*run, "run", "gateway", "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_banner(port)
        before = usage_of({gateway.pid})
        after = asyncio.run(_hold(gateway.pid, port, sessions, tls=tls))
        each = (after.rss - before.rss) / sessions / 1024
        return (
            f"{sessions} idle sessions{' under TLS' if tls else ''}: {after.rss / 2**20:.0f} MiB resident, "
            f"{before.rss / 2**20:.0f} MiB before, {each:.1f} KiB a session; "
            f"{1000 * (after.cpu_s - before.cpu_s) / sessions:.2f} ms of CPU to open one"
        )
    finally:
        gateway.terminate()
        end(gateway, 30)


async def _hold(pid: int, port: int, sessions: int, *, tls: bool) -> Usage:
    open_at_once = asyncio.Semaphore(_AT_ONCE)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    async def one() -> asyncio.StreamWriter:
        async with open_at_once:
            reader, writer = await asyncio.open_connection(HOST, port, limit=2048)
            await _replies(reader, b"220")
            writer.write(b"EHLO idle.test\r\n")
            await _replies(reader, b"250")
            if tls:
                writer.write(b"STARTTLS\r\n")
                await _replies(reader, b"220")
                await writer.start_tls(context)
                writer.write(b"EHLO idle.test\r\n")
                await _replies(reader, b"250")
            return writer

    async with asyncio.timeout(_LIMIT_S):
        writers = await asyncio.gather(*(one() for _ in range(sessions)))
        await asyncio.sleep(5)
        usage = usage_of({pid})
    for writer in writers:
        writer.transport.abort()
    return usage


async def _replies(reader: asyncio.StreamReader, code: bytes) -> None:
    while True:
        line = await reader.readline()
        if not line.startswith(code):
            raise SystemExit(f"the gateway said {line!r}")
        if line[3:4] == b" ":
            return


if __name__ == "__main__":
    main()
