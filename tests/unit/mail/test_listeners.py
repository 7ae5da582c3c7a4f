"""The listeners of a gateway process, as its control verbs see them."""

from pathlib import Path

import pytest

from core.errors import EX_NOINPUT, GatepostError
from core.maillog import MailLog
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from mail.listeners import Listeners
from protocol.smtp.settings import ServerSettings
from tests.support.service import running


def no_session() -> None:
    raise AssertionError("nobody connects")


def make(name: str, suspended: bool) -> SmtpListener:
    settings = ListenerSettings(name, "127.0.0.1", 0, ServerSettings("mx.test"))
    return SmtpListener(settings, no_session, suspended=suspended)  # type: ignore[arg-type]


def listeners(folder: Path) -> Listeners:
    return Listeners(["In", "Out"], make, state=folder / "suspended.json", log=MailLog(folder / "log"))


async def test_what_is_suspended_stays_so_over_a_restart_and_the_others_do_not(tmp_path: Path) -> None:
    """A listener that was not open yet was remembered as suspended, whatever was asked for."""
    before = listeners(tmp_path)
    async with running(before.services["In"]):
        assert await before.suspend({"listeners": ["In"], "delay_s": 0}) == {"listeners": ["In"], "state": "suspended"}
        assert before.services["In"].suspended
    after = listeners(tmp_path)
    async with running(*after.services.values()):
        rows = (await after.show({}))["listeners"]
        assert [(row["name"], row["state"]) for row in rows] == [("In", "suspended"), ("Out", "listening")]
        assert after.state == "Online"
        await after.suspend({})
        assert after.state == "Receiving suspended"
        await after.resume({})
        assert [row["state"] for row in (await after.show({}))["listeners"]] == ["listening", "listening"]
    assert (tmp_path / "suspended.json").read_bytes() == b"[]"


async def test_a_name_that_is_no_listener_is_refused_before_anything_happens(tmp_path: Path) -> None:
    one = listeners(tmp_path)
    with pytest.raises(GatepostError, match="'Inn'; there are: In, Out") as caught:
        await one.suspend({"listeners": ["In", "Inn"]})
    assert caught.value.status == EX_NOINPUT
    assert not (tmp_path / "suspended.json").exists()
