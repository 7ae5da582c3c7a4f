"""Two gateways that route to each other: the mail ends after a bounded number of hops, and its sender is told."""

import asyncio
from pathlib import Path

import pytest

from tests.support.load import Sink
from tests.support.ports import free_port
from tests.support.road import DaemonProcess, make_gateway
from tests.support.smtp_client import SmtpClient
from tests.support.waiting import until

pytestmark = pytest.mark.slow
MOST_HOPS = 20


def point(machine: Path, other: int, sink: int) -> None:
    """Have a machine route `example.test` to the other one, and everything else, reports above all, to the sink."""
    config = machine / "gatepost.toml"
    text = config.read_text().replace("[listener.policy]", f"max_received = {MOST_HOPS}\n\n[listener.policy]")
    head, _, rest = text.partition("[[route]]")
    routes = [("example.test", other), ("ALL", sink)]
    table = "".join(f'[[route]]\ndomain = "{name}"\nhosts = ["127.0.0.1:{port}"]\n' for name, port in routes)
    config.write_text(f"{head}{table}[[listener]]{rest.partition('[[listener]]')[2]}")


async def test_mail_that_two_gateways_send_to_each_other_ends_with_a_report(tmp_path: Path) -> None:
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=4 << 20)
    sink_port = server.sockets[0].getsockname()[1]
    ports, daemons = [], []
    for name in ("left", "right"):
        ports.append(make_gateway(tmp_path / name, free_port()))
        for daemon, instance in (("gateway", "gateway-0"), ("delivery-queue", "delivery-queue")):
            daemons.append(DaemonProcess(tmp_path / name, daemon, instance))
    point(tmp_path / "left", ports[1], sink_port)
    point(tmp_path / "right", ports[0], sink_port)
    try:
        for one in daemons:
            await one.start()
        for one in daemons:
            await one.until_ready()
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
        client = SmtpClient(reader, writer)
        assert (await client.hear()).startswith("220 ")
        said = ("HELO client.test", "MAIL FROM:<from@client.test>", "RCPT TO:<to@example.test>", "DATA")
        for line in (*said, "Subject: round and round\r\n\r\nbody\r\n."):
            assert (await client.say(line))[0] in "23"
        writer.close()
        await until(lambda: sink.damaged, "the report", within_s=90)
        await asyncio.sleep(1)
        (report,) = sink.damaged
        accepted = [
            (tmp_path / name / "log" / "mail_logs" / "mail.current").read_text().count("To: <to@example.test>")
            for name in ("left", "right")
        ]
    finally:
        for one in daemons:
            await one.end()
        server.close()
    assert b"MAILER-DAEMON@" in report
    assert b"To: <from@client.test>" in report
    assert sum(accepted) <= MOST_HOPS + 2, "the loop went on"
