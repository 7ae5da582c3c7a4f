"""`daemons.resuming`: released mail and a paused work queue; mail that ends in the hold queue is told of."""

from pathlib import Path

from core.content import ContentStore
from core.journal import JournalSettings
from core.maillog import MailLog
from core.record import Accepted, Outcome, Recipient
from daemons.resuming import Resumption
from mail.filter.compiler import Around, compile_filters
from mail.pipeline import Pipeline
from mail.workqueue import Order, Pause


def resumption(folder: Path, told: list[Outcome]) -> Resumption:
    program = compile_filters("", around=Around("esa.example.test"))
    pause = Pause(folder / "workqueue.json")
    return Resumption(Pipeline(lambda: program), pause, told.append, MailLog(folder / "mail.current"))


def test_nothing_is_taken_back_while_a_gateways_order_to_pause_is_in_force(tmp_path: Path) -> None:
    """Released mail went through the rest of the pipeline all the same."""
    rest, gateway = resumption(tmp_path, []), Pause(tmp_path / "workqueue.json")
    assert rest.waits_for() == ""
    gateway.give(Order("ann", "upgrade", 5.0))
    assert rest.waits_for() == "the work queue is paused"
    gateway.give(None)
    assert rest.waits_for() == ""
    (tmp_path / "workqueue.json").write_text("{")
    assert "remove the file to resume" in rest.waits_for()


async def test_people_are_told_of_released_mail_that_ends_in_the_hold_queue(tmp_path: Path) -> None:
    told: list[Outcome] = []
    rest = resumption(tmp_path, told)
    content = ContentStore(tmp_path / "content", JournalSettings().content).new()
    content.write(b"Subject: x\r\n\r\nbody\r\n")
    accepted = Accepted(7, 1, 0.0, "a@b.test", [Recipient(0, "c@d.test")], 20)
    await rest.resume(accepted, Outcome(7, "deliver", finished=[]), content)
    assert told == []
    await rest.resume(accepted, Outcome(7, "deliver", finished=["a stage of tomorrow"]), content)
    assert [(one.mid, one.destination) for one in told] == [(7, "the.hold.queue")]
