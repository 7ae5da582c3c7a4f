"""`showmessage`, `archivemessage`, `oldmessage`, `removemessage`."""

import base64
from pathlib import Path
from typing import Any

from core.errors import GatepostError
from ops.cli.commands.message import quoted
from tests.support.appliance import NOW, Daemons, document

CONTENT = b"Subject: \x1b[2Jx\r\n\r\nFrom here\r\n>From there\r\n\xc3\xa9\r\n"
FACTS = {
    "mid": "7",
    "where": "delivery",
    "received_at": NOW - 90,
    "age_s": 90.0,
    "sender": "ann@here.test",
    "headers": "Subject: \x1b[2Jx\nTo: b",
}
NOT_HERE = GatepostError("MID 7 is not in the queue", 66)


async def pieces(args: dict[str, Any]) -> dict[str, Any]:
    offset = args["offset"]
    after = offset + 10 if offset + 10 < len(CONTENT) else None
    return {"data": base64.b64encode(CONTENT[offset : offset + 10]).decode(), "next": after}


async def test_a_message_is_shown_without_anything_that_steers_a_terminal(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"message": FACTS, "message_piece": pieces}):
        result = await run("showmessage 7")
    assert "\x1b" not in result.output
    assert result.output.splitlines()[2:] == ["From here", ">From there", "\\xc3\\xa9"]


async def test_a_message_is_archived_as_a_mailbox(daemons: Daemons, run: Any, tmp_path: Path) -> None:
    async with daemons.up(delivery_queue={"message": FACTS, "message_piece": pieces}):
        found = document(await run("archivemessage 7 --json", files=tmp_path / "configuration"))
    path = tmp_path / "configuration" / "oldmessage_7.mbox"
    assert found == {"mid": "7", "path": str(path)}
    assert path.read_bytes() == (
        b"From ann@here.test Sun Nov 22 02:19:32 2026\nSubject: \x1b[2Jx\n\n>From here\n>>From there\n\xc3\xa9\n\n"
    )
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_only_lines_that_begin_with_from_are_quoted() -> None:
    assert quoted(b"From a\n>From b\n From c\nFrom: d\n") == b">From a\n>>From b\n From c\nFrom: d\n"


async def test_a_message_in_the_work_queue_is_found_there(daemons: Daemons, run: Any) -> None:
    facts = {**FACTS, "where": "work queue"}
    async with daemons.up(
        delivery_queue={"message": NOT_HERE},
        gateway_0={"message": NOT_HERE},
        gateway_1={"message": facts, "remove_message": {"recipients": 2}},
    ):
        result = await run("removemessage 7 --yes")
    assert result.output == "MID 7 removed (2 recipients)."


async def test_a_message_that_is_nowhere_is_called_so(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"message": NOT_HERE}, gateway_0={"message": NOT_HERE}):
        result = await run("showmessage 7")
    assert (result.status, result.error) == (66, "MID 7 is neither in the delivery queue nor in the work queue")


async def test_a_message_in_active_delivery_is_busy(daemons: Daemons, run: Any) -> None:
    done = {"id": "1", "action": "delete", "state": "done", "dry_run": False, "messages": 0, "recipients": 0, "busy": 1}
    async with daemons.up(delivery_queue={"message": FACTS, "operate": done}):
        result = await run("removemessage 7 --yes")
    assert result.status == 75
    assert "MID 7 is busy: it is in active delivery" in result.error


async def test_the_oldest_message_is_shown_with_its_age(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"oldest_message": FACTS}):
        result = await run("oldmessage")
    assert result.output.startswith("MID 7: 1 min 30 secs old\n\nSubject: ")
    assert "\x1b" not in result.output
