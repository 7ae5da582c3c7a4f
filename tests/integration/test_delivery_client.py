"""What the client does, through real daemons: from the key in the document to the line in the log."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration.test_delivery_tables import Gateway, gateway, route
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.waiting import until

__all__ = ["gateway"]
PROFILE = '[[bounce_profile]]\nname = "Default"\ninitial_retry_s = 1\nmax_retry_s = 1\n'


class Host:
    """A scripted host without 8BITMIME that keeps content; what it says to it may be chosen."""

    def __init__(self, *offers: str) -> None:
        self.offers = ("PIPELINING", *offers)
        self.contents: list[bytes] = []
        self.final: list[str] = []
        """What to say to the next messages; '' = close without a word; with nothing left, 250."""

    async def __call__(self, peer: Peer) -> None:
        await peer.opening(*self.offers)
        while (line := await peer.line()) and not line.startswith(b"QUIT"):
            assert line.startswith(b"MAIL"), line
            await peer.say("250 ok")
            await peer.hear("RCPT")
            await peer.say("250 ok")
            await peer.hear("DATA")
            await peer.say("354 go")
            self.contents.append(await peer.content())
            final = self.final.pop(0) if self.final else "250 2.0.0 kept"
            if not final:
                return
            await peer.say(final)
        await peer.say("221 bye")


@asynccontextmanager
async def host(*offers: str) -> AsyncIterator[tuple[Host, ScriptedServer]]:
    one = Host(*offers)
    async with ScriptedServer(one) as server:
        yield one, server


async def test_domains_with_the_same_exchanger_share_a_connection(gateway: Gateway) -> None:
    async with host() as (_, server):
        gateway.configure("[delivery]\nidle_close_s = 30\n" + route(server.port))
        await gateway.start()
        for number, domain in enumerate(("one.test", "two.test", "three.test")):
            await gateway.send(f"a@{domain}")
            await until(lambda n=number: gateway.log().count("Message done DCID") == n + 1)
        log = gateway.log()
        (dcid,) = re.findall(r"New SMTP DCID (\d+)", log)
        assert re.findall(r"Delivery start DCID (\d+)", log) == [dcid] * 3
        found = await gateway.ask("hoststatus", host="three.test")
        assert found["gauges"]["conn_out"] == 1
        (address,) = found["addresses"]
        assert (address["address"], address["state"], address["connections"]) == ("127.0.0.1", "up", 1)
        assert (await gateway.ask("hoststatus", host="one.test"))["gauges"]["conn_out"] == 0
        assert server.connections == 1


async def test_messages_for_each_connection_count_over_all_domains(gateway: Gateway) -> None:
    async with host() as (_, server):
        limit = '[[destination]]\ndomain = "DEFAULT"\nmax_messages_per_connection = 2\n'
        gateway.configure("[delivery]\nidle_close_s = 30\n" + limit + route(server.port))
        await gateway.start()
        for number in range(4):
            await gateway.send(f"a@d{number}.test")
            await until(lambda n=number: gateway.log().count("Message done DCID") == n + 1)
        assert server.connections == 2


async def test_eight_bit_text_is_converted_or_bounced_as_the_document_says(gateway: Gateway) -> None:
    body = "Content-Type: text/plain; charset=utf-8\r\n\r\nGr\u00fc\u00dfe aus K\u00f6ln und der Umgebung\r\n"
    async with host() as (one, server):
        gateway.configure(route(server.port))
        await gateway.start()
        await gateway.send("a@one.test", content=body.encode())
        await until(lambda: one.contents)
        assert one.contents[0].isascii()
        assert b"Gr=C3=BC=C3=9Fe" in one.contents[0]
        await until(lambda: "Message done DCID" in gateway.log())  # or the next would be the same mail again
        gateway.configure('[delivery]\neight_bit = "bounce"\n' + route(server.port))
        await gateway.restart("delivery-queue")
        await gateway.send("a@one.test", content=body.encode())
        await until(lambda: "5.6.3" in gateway.log())
        await until(lambda: "Bounced: DCID" in gateway.log())


async def test_no_reply_to_the_content_is_one_more_try_or_a_possible_delivery(gateway: Gateway) -> None:
    async with host("8BITMIME") as (one, server):
        gateway.configure(PROFILE + route(server.port))
        await gateway.start()
        one.final = [""]
        await gateway.send("a@one.test")
        await until(lambda: len(one.contents) == 2)
        await until(lambda: "Message done" in gateway.log())
        assert "Connection Error: DCID:" in gateway.log()
        gateway.configure("[delivery]\npossible_delivery = true\n" + PROFILE + route(server.port))
        await gateway.restart("delivery-queue")
        one.final = [""]
        await gateway.send("a@one.test")
        await until(lambda: "Possible Delivery: DCID: " in gateway.log())
        await asyncio.sleep(1.5)
        assert len(one.contents) == 3


async def test_a_host_that_breaks_the_protocol_is_one_line_and_the_mail_goes_later(gateway: Gateway) -> None:
    async with host() as (one, server):
        gateway.configure(PROFILE + route(server.port))
        await gateway.start()
        one.final = ["354 what"]
        await gateway.send("a@one.test")
        await until(lambda: "Message done" in gateway.log())
        (line,) = [line for line in gateway.log().splitlines() if "Connection Error" in line]
        assert "answered 354 what, where a reply to the content was due" in line
        assert re.search(r"DCID: \d+ IP: 127\.0\.0\.1", line)
