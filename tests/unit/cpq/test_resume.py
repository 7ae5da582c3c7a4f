"""A gateway takes released mail back: exactly once, with all that was decided before."""

import asyncio
from pathlib import Path

import pytest

from core.content import Content
from core.errors import GatepostError
from core.journal import Tail, read_content
from core.record import RELEASE_HOST, Accepted, Outcome
from cpq.exchange.store import TakenIds
from cpq.held import Known
from cpq.locate import Location
from cpq.transfer import QuarantineCourier, QuarantineLine
from tests.support.quarantine import CONTENT, Job, Machine, courier, deliver, gateway, job, machines


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Machine, Machine]:
    return machines(tmp_path)


def released(mid: int = 70, content: bytes = CONTENT) -> Job:
    return job(mid, content, destination=RELEASE_HOST, target="ESA-1")


async def opened(post: QuarantineCourier) -> QuarantineLine:
    return await post.open(RELEASE_HOST, "ESA-1")


async def test_released_mail_goes_on_behind_the_stages_it_has_finished(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair
    seen: list[tuple[Accepted, Outcome, bytes]] = []

    def rest(accepted: Accepted, prior: Outcome, content: Content) -> Outcome:
        seen.append((accepted, prior, content.inline or b""))
        return deliver(accepted, prior, content)

    async with gateway(esa, rest) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        (result,) = await line.send(released())
        await line.close()
        assert (result.kind, result.text) == ("delivered", "Ok: Message 1 accepted")
        ((accepted, outcome, content),) = back.accepted()
        assert back.pokes.topics == ["journal"]
    assert content == CONTENT
    assert seen == [(accepted, seen[0][1], CONTENT)]
    assert seen[0][1].finished == ["message filters", "quarantine"]
    assert seen[0][1].hold_count == 1
    assert outcome.finished == ["message filters", "quarantine", "rest"]
    assert [edit.name for edit in outcome.edits] == ["X-Filter", "X-Rest"]
    assert [one.rule for one in outcome.decisions] == ["hold_it"]
    assert accepted.transfer is not None
    assert (accepted.transfer.peer_serial, accepted.transfer.peer_mid) == ("SMA-1", 70)
    assert (accepted.sender, accepted.listener, accepted.remote_ip) == ("a@example.com", "InboundMail", "192.0.2.1")
    assert accepted.trace == b"Received: from x\r\n\tby y; today\r\n"
    assert "CPQ ICID 1 MID 70 of appliance SMA-1 rewritten to MID 1 by centralized policy quarantine" in esa.logged()


async def test_a_repeated_release_is_acknowledged_and_not_delivered_again(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair
    for _ in range(2):
        async with gateway(esa) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
            for _ in range(2):
                line = await opened(post)
                assert (await line.send(released()))[0].text == "Ok: Message 1 accepted"
                await line.close()
            assert len(back.accepted()) == 1
    assert esa.logged().count("acknowledged, not delivered again") == 3


async def test_a_release_with_another_content_under_a_known_id_is_refused_with_an_alert(
    pair: tuple[Machine, Machine],
) -> None:
    esa, sma = pair
    async with gateway(esa) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        await line.send(released())
        (result,) = await line.send(released(content=b"other\r\n"))
        await line.close()
        assert (result.kind, result.code) == ("soft", 554)
        assert len(back.accepted()) == 1
    assert "was used for MID 1 with another content" in esa.logged()


async def test_the_same_release_on_two_connections_at_once_is_taken_once(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair
    started, gate = asyncio.Event(), asyncio.Event()

    async def slow(accepted: Accepted, prior: Outcome, content: Content) -> Outcome:
        started.set()
        await gate.wait()
        return deliver(accepted, prior, content)

    async with gateway(esa, slow) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        first, second = await opened(post), await opened(post)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(first.send(released()))
            await started.wait()
            (result,) = await second.send(released())
            assert (result.kind, result.code) == ("soft", 451)
            gate.set()
        assert sending.result()[0].kind == "delivered"
        await first.close()
        await second.close()
        assert len(back.accepted()) == 1


async def test_an_id_that_only_the_journal_knows_is_learnt_at_start(
    pair: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    esa, sma = pair

    async def fails(self: TakenIds, ids: object) -> None:
        raise GatepostError("disk full", 75)

    with monkeypatch.context() as patched:
        async with gateway(esa) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
            patched.setattr(TakenIds, "remember", fails)
            line = await opened(post)
            assert (await line.send(released()))[0].kind == "soft"
            await line.close()
    async with gateway(esa) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        assert (await line.send(released()))[0].text == "Ok: Message 1 accepted"
        await line.close()
        assert len(back.accepted()) == 1


async def test_an_id_whose_write_failed_is_still_known_while_the_process_lives(
    pair: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    esa, sma = pair

    async def fails(self: TakenIds, ids: object) -> None:
        raise GatepostError("disk full", 75)

    async with gateway(esa) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        with monkeypatch.context() as patched:
            patched.setattr(TakenIds, "remember", fails)
            assert (await line.send(released()))[0].kind == "soft"
        assert (await line.send(released()))[0].kind == "delivered"
        await line.close()
        assert len(back.accepted()) == 1


async def test_a_pipeline_that_fails_leaves_the_message_with_its_sender(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair

    def broken(accepted: Accepted, prior: Outcome, content: Content) -> Outcome:
        raise ValueError("bug")

    async with gateway(esa, broken) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        (result,) = await line.send(released())
        await line.close()
        assert (result.kind, result.code) == ("soft", 451)
        assert "bug" not in result.text
        assert back.accepted() == []
        assert await back.taken.known(released().outcome.transfer_id) is None


async def test_settled_ids_are_forgotten_for_the_peer_that_settles_them_only(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair
    async with gateway(esa) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        one = released()
        await line.send(one)
        known = await back.taken.known(one.outcome.transfer_id)
        assert known is not None
        assert known == Known(1, len(CONTENT), known.sha256, "SMA-1")
        assert await back.taken.settle("ESA-7", [one.outcome.transfer_id]) == 0
        reply = await line.settle([one.outcome.transfer_id, bytes(16)])
        assert (reply.code, reply.text) == (250, "1 settled")
        await line.close()
        assert await back.taken.known(one.outcome.transfer_id) is None


async def test_the_pipeline_reads_all_of_a_message_that_was_spilled_to_a_file(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair
    large = b"X: y\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000
    read: list[bytes] = []

    def rest(accepted: Accepted, prior: Outcome, content: Content) -> Outcome:
        assert content.inline is None
        read.append(b"".join(content.chunks()))
        return deliver(accepted, prior, content)

    async with gateway(esa, rest) as back, courier(sma, Location("ESA-1", "127.0.0.1", back.listener.port)) as post:
        line = await opened(post)
        assert (await line.send(released(content=large)))[0].kind == "delivered"
        await line.close()
        (entry,) = Tail(back.journal.directory).read()
        assert read_content(entry.content) == large
    assert read == [large]
