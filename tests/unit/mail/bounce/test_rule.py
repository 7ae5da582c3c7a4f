"""`mail.bounce.rule`: NOTIFY, profiles, and mail of lists and programs."""

import pytest

from core.record import Recipient
from mail.bounce.profile import BounceProfile
from mail.bounce.rule import Event, is_automatic, silenced, wants


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        ("", {"failed"}),
        ("NEVER", set()),
        ("FAILURE", {"failed"}),
        ("DELAY", {"delayed"}),
        ("SUCCESS,FAILURE,DELAY", {"failed", "delayed", "relayed"}),
    ],
)
def test_what_notify_asks_for(notify: str, wanted: set[str]) -> None:
    events: tuple[Event, ...] = ("failed", "delayed", "relayed")
    one = Recipient(0, "b@x.test", notify=notify)
    assert {event for event in events if wants(one, event, BounceProfile())} == wanted


def test_what_the_profile_turns_off_stays_off_and_what_it_turns_on_may_be_declined() -> None:
    every = Recipient(0, "b@x.test", notify="SUCCESS,FAILURE,DELAY")
    assert not wants(every, "failed", BounceProfile(hard_bounce="off"))
    assert not wants(every, "delayed", BounceProfile(delay_warnings="off"))
    on = BounceProfile(delay_warnings="on")
    assert wants(Recipient(0, "b@x.test"), "delayed", on)
    assert not wants(Recipient(0, "b@x.test", notify="FAILURE"), "delayed", on)


@pytest.mark.parametrize(
    ("field", "automatic"),
    [
        (b"List-Id: <x.test>", True),
        (b"Precedence: Bulk", True),
        (b"precedence: list", True),
        (b"Precedence: first-class", False),
        (b"Auto-Submitted: no", False),
        (b"Auto-Submitted: No; comment", False),
        (b"Auto-Submitted: auto-generated", True),
        (b"Subject: x", False),
    ],
)
def test_lists_and_programs_are_known_by_their_header(field: bytes, automatic: bool) -> None:
    assert is_automatic(field + b"\r\n\r\nbody") is automatic


def test_lists_learn_of_failures_and_of_what_they_ask_for() -> None:
    head = b"List-Id: <x.test>\r\n\r\n"
    usual, quiet, loud = (BounceProfile(automatic=mode) for mode in ("failures", "none", "all"))  # type: ignore[arg-type]
    assert not silenced("failed", head, usual, asked=False)
    assert silenced("delayed", head, usual, asked=False)
    assert not silenced("delayed", head, usual, asked=True)
    assert silenced("failed", head, quiet, asked=True)
    assert not silenced("delayed", head, loud, asked=False)
    assert not silenced("failed", b"Subject: x\r\n\r\n", quiet, asked=False)
