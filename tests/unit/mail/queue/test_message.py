"""`mail.queue.message`: which queue a recipient stands in."""

import pytest

from core.record import Outcome, Recipient
from mail.queue.message import destination_of


def test_a_domain_has_one_queue_for_each_virtual_gateway_however_it_is_written() -> None:
    for address in ("a@Bücher.test", "b@xn--bcher-kva.TEST"):
        recipient = Recipient(0, address)
        assert destination_of(Outcome(1, "deliver"), recipient) == ("xn--bcher-kva.test", "")
        assert destination_of(Outcome(1, "deliver", gateway="Out1"), recipient) == ("xn--bcher-kva.test", "Out1")


def test_a_pseudo_host_has_one_queue_for_each_appliance_and_held_mail_has_one() -> None:
    away = Outcome(1, "quarantine", destination="the.cpq.host", target="S", gateway="Out1")
    assert destination_of(away, Recipient(0, "a@x.test")) == ("the.cpq.host", "S")
    assert destination_of(Outcome(1, "hold", gateway="Out1"), Recipient(0, "a@x.test")) == ("the.hold.queue", "")


@pytest.mark.parametrize("name", ["the.cpq.host", "the.cpq.release.host", "The.Hold.Queue"])
def test_an_address_below_a_pseudo_host_went_into_the_quarantine_channel_or_was_held_for_ever(name: str) -> None:
    """A forged sender was enough: the bounce to it stood in the channel."""
    key = destination_of(Outcome(1, "deliver"), Recipient(0, f"x@{name}"))
    assert key == (f"{name.lower()}.", "")
